"""_rknn_file: a damaged header is one line, whatever it contains."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.backends import _rknn_file
from edge_app.errors import ModelError


def file(text: bytes, body: int = 0, length: int | None = None) -> bytes:
    head = b"RKNN".ljust(8, b"\0") + struct.pack("<QQ", _rknn_file.MINI, body)
    return head.ljust(64, b"\0") + struct.pack("<Q", len(text) if length is None else length) + text


HOSTILE = {
    "a body beyond any file": file(b"{}", body=2**64 - 1),
    "a header beyond any file": file(b"{}", length=2**64 - 1),
    "deep JSON": file(b"[" * 200_000),
    "a long number": file(b"9" * 100_000),
    "no object": file(b"[]"),
    "null": file(b"null"),
    "strings for lists": file(b'{"norm_tensor": "x", "graph": "y", "target_platform": 1, "version": 2}'),
    "no platform": file(b'{"norm_tensor": [], "graph": [], "target_platform": null, "version": 2}'),
    "a tensor with an unhashable id": file(b'{"norm_tensor": [{"tensor_id": [], "url": "x", "size": [1]}]}'),
    "an infinite size": file(b'{"norm_tensor": [{"tensor_id": 1, "url": "x", "size": [1e999]}]}'),
    "not UTF-8": file(b'{"a\xff": 1}'),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_header_is_one_line(name):
    with pytest.raises(ModelError, match=r"^a.rknn: found \d+ bytes, damaged: .*; expected a complete .rknn file$"):
        _rknn_file.parse(HOSTILE[name], Path("a.rknn"))


@given(st.binary(max_size=300), st.integers(0, 2**64 - 1), st.integers(0, 2**64 - 1) | st.none())
def test_arbitrary_bytes_raise_only_model_errors(text, body, length):
    for data in (text, b"RKNN" + text, file(text, length=length), file(text, body)):
        with pytest.raises(ModelError, match=r"^[ -~]*$"):
            _rknn_file.parse(data, Path("a.rknn"))
