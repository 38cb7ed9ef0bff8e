"""golden_file: hostile archives give one ValueError each, and take no memory."""

from __future__ import annotations

import io
import struct
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.backends import Graph
from edge_app.errors import ModelError
from edge_app.inference.golden_file import GoldenFile

SHAPE = (2, 3, 4)
VALUES = np.arange(24, dtype=np.float32).reshape(SHAPE)


def npy(header: str, data: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    text = header.encode("latin-1")
    return b"\x93NUMPY" + version + struct.pack("<H", len(text)) + text + data


def described(shape: str = "(2, 3, 4)", descr: str = "'<f4'", order: str = "False") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n"


def archive(content: bytes, name: str = "a.npy", compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        file.writestr(name, content)
    return buffer.getvalue()


def array(tmp_path: Path, data: bytes, shape=SHAPE) -> np.ndarray:
    path = tmp_path / "golden.npz"
    path.write_bytes(data)
    return GoldenFile(Graph(path, None)).array("a", ("float32",), shape)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("shape", [SHAPE, (None, 3, 4)])
def test_reads_what_numpy_writes(tmp_path, save, shape):
    for values in (VALUES, np.asfortranarray(VALUES)):
        save(tmp_path / "x.npz", a=values, unused=np.array("text"))
        found = array(tmp_path, (tmp_path / "x.npz").read_bytes(), shape)
        assert found.dtype == np.float32
        assert np.array_equal(found, VALUES)


def test_knows_the_names(tmp_path):
    np.savez(tmp_path / "golden.npz", **{"digits/scores": VALUES})
    file = GoldenFile(Graph(tmp_path / "golden.npz", None))
    assert "digits/scores" in file
    assert "digits" not in file


def test_a_scalar_and_a_vector_have_shapes(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.float32(1))
    assert array(tmp_path, (tmp_path / "x.npz").read_bytes(), ()).shape == ()
    np.savez(tmp_path / "x.npz", a=np.zeros(1, np.float32))
    assert array(tmp_path, (tmp_path / "x.npz").read_bytes(), (None,)).shape == (1,)


HOSTILE = {
    "empty": b"",
    "no archive": b"no archive" * 10,
    "an empty archive": b"PK\x05\x06" + bytes(18),
    "another name": archive(npy(described(), VALUES.tobytes()), "b.npy"),
    "an empty array file": archive(b""),
    "no header": archive(b"\x93NUMPY\x01\x00\xff\xff"),
    "format 2.0": archive(npy(described(), VALUES.tobytes(), b"\x02\x00")),
    "256 GB": archive(npy(described("(64000000000,)"))),
    "a negative size": archive(npy(described("(-1, 3, 4)"), VALUES.tobytes())),
    "sizes that overflow": archive(npy(described("(999999999, 999999999, 999999999)"))),
    "1000 dimensions": archive(npy(described("(" + "1, " * 1000 + ")"))),
    "no tuple": archive(npy(described("'x'"))),
    "a nested expression": archive(npy(described("(" * 1000 + ")" * 1000))),
    "objects": archive(npy(described(descr="'|O'"), VALUES.tobytes())),
    "text": archive(npy(described(descr="'<U9999'"), VALUES.tobytes())),
    "a record": archive(npy(described(descr="[('x', '<f4')]"), VALUES.tobytes())),
    "big endian": archive(npy(described(descr="'>f4'"), VALUES.tobytes())),
    "an impossible type": archive(npy(described(descr="'<f1'"), VALUES.tobytes())),
    "another type": archive(npy(described(descr="'<i4'"), VALUES.tobytes())),
    "another shape": archive(npy(described("(2, 4, 3)"), VALUES.tobytes())),
    "too few bytes": archive(npy(described(), VALUES.tobytes()[:-1])),
    "too many bytes": archive(npy(described(), VALUES.tobytes() + b"\0")),
    "a comment": archive(npy(described(), VALUES.tobytes()))[:-2] + b"\x01\0x",
    "an unknown compression": archive(npy(described(), VALUES.tobytes()), compression=zipfile.ZIP_LZMA),
    "a wrong checksum": archive(npy(described(), VALUES.tobytes()), compression=zipfile.ZIP_STORED).replace(
        VALUES.tobytes(), bytes(VALUES.nbytes)
    ),
    "a bad header": archive(npy("\n" * 60_000, VALUES.tobytes())),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_one_value_error(tmp_path, name):
    with pytest.raises(ValueError, match=r"[\w']") as error:
        array(tmp_path, HOSTILE[name])
    assert type(error.value) is ValueError
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 200


def peak_bytes(tmp_path: Path, data: bytes) -> int:
    (tmp_path / "golden.npz").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match=r"[\w']"):
            array(tmp_path, data)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_bomb_is_not_decompressed(tmp_path):
    bomb = archive(npy(described("(25000000,)"), bytes(100_000_000)))
    assert len(bomb) < 150_000
    assert peak_bytes(tmp_path, bomb) < 3_000_000


def test_a_bomb_with_a_small_declared_size_is_not_decompressed(tmp_path):
    """The directory declares the size that is expected, and the compressed data holds 50 MB."""
    content = npy(described(), VALUES.tobytes() + bytes(50_000_000))
    size = len(content) - 50_000_000
    bomb = archive(content).replace(struct.pack("<I", len(content)), struct.pack("<I", size))
    assert peak_bytes(tmp_path, bomb) < 3_000_000


def test_a_huge_directory_is_not_read(tmp_path):
    entries = b"PK\x01\x02".ljust(46, b"\0") * 100_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 65_535, 65_535, len(entries), 0, 0)
    assert peak_bytes(tmp_path, entries + end) < 12_000_000  # the file itself


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with (tmp_path / "golden.npz").open("wb") as file:
        file.truncate(4 << 30)
    with pytest.raises(ModelError, match=r"golden.npz: cannot be read: Is larger than 64 MiB"):
        GoldenFile(Graph(tmp_path / "golden.npz", None))


VALID = archive(npy(described(), VALUES.tobytes()))


@settings(max_examples=300)
@given(st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=6), st.integers(0, 40))
def test_arbitrary_changes_give_the_array_or_a_value_error(tmp_path_factory, changes, cut):
    data = bytearray(VALID)
    for position, value in changes:
        data[position] = value
    folder = tmp_path_factory.getbasetemp()
    try:
        found = array(folder, bytes(data[: len(data) - cut]))
    except ValueError as exc:
        assert type(exc) is ValueError  # noqa: PT017
    else:
        assert found.shape == SHAPE
