"""The serial sink's frames: valid frames are decoded, damaged ones rejected."""

import contextlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.sinks._frames import BrokenFrame, LinkFrame, Splitter, Type, cobs, pack, uncobs, unpack


def plain_cobs(data):
    """The paper's algorithm, byte by byte."""
    out, block = [], []
    for byte in [*data, 0]:
        if byte == 0:
            out += [len(block) + 1, *block]
            block = []
        else:
            block.append(byte)
            if len(block) == 254:
                out += [255, *block]
                block = []
    return bytes(out)


@given(st.binary(max_size=1500))
def test_cobs_matches_the_paper(data):
    assert cobs(data) == plain_cobs(data)
    assert 0 not in cobs(data)
    assert uncobs(cobs(data)) == data


@pytest.mark.parametrize("size", [253, 254, 255, 508, 509])
def test_cobs_at_its_block_size(size):
    for data in (b"x" * size, b"x" * size + b"\0", b"\0" + b"x" * size):
        assert uncobs(cobs(data)) == data


@given(st.sampled_from(Type), st.integers(0, 65535), st.binary(max_size=600))
def test_a_frame_survives_encoding_and_decoding(type_, seq, payload):
    frame = LinkFrame(type_, seq, payload)
    (piece,) = Splitter(1000).feed(pack(frame))
    assert unpack(piece) == frame


def test_a_damaged_frame_is_never_accepted():
    rng = random.Random(1)
    wire = pack(LinkFrame(Type.DATA, 7, b'{"a":1}' * 40))
    for _ in range(20_000):
        damaged = bytearray(wire)
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        if bytes(damaged).strip(b"\0") == wire.strip(b"\0"):
            continue
        for piece in Splitter(1000).feed(bytes(damaged)):
            with pytest.raises(BrokenFrame):
                unpack(piece)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_frame_or_rejected(data):
    for piece in Splitter(64).feed(data + b"\0"):
        with contextlib.suppress(BrokenFrame):
            unpack(piece)


def test_the_splitter_buffers_a_bounded_number_of_bytes():
    splitter = Splitter(64)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 1000)) == []
    assert [len(piece) for piece in splitter.feed(b"\0ab\0")] == [64, 2]
