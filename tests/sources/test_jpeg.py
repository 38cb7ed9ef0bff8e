"""_jpeg: the end of a JPEG, in one piece and in a buffer that grows."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.sources._jpeg import JpegScanner, is_complete
from tests.sources.http_camera import picture

KINDS = {
    "baseline": [],
    "progressive": [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
    "restart markers": [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],
}


def encoded(kind: str) -> bytes:
    noise = np.random.default_rng(1).integers(0, 256, (80, 120, 3), np.uint8)
    return cv2.imencode(".jpg", noise, KINDS[kind])[1].tobytes()


def jpeg_end(data):
    return JpegScanner().find_end(data)


def with_thumbnail(image: bytes) -> bytes:
    segment = b"Exif\0\0" + picture(1)
    return image[:2] + b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment + image[2:]


@pytest.mark.parametrize("kind", KINDS)
def test_finds_the_end_in_front_of_a_trailer(kind):
    image = encoded(kind)
    assert jpeg_end(image) == len(image)
    assert jpeg_end(image + b"\xff\xd9trailer\xff\xd8") == len(image)


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_that_is_cut_anywhere_is_incomplete(kind):
    image = encoded(kind)
    assert [n for n in range(len(image)) if jpeg_end(image[:n]) is not None] == []


def test_the_end_of_a_thumbnail_is_not_the_end_of_the_image():
    image = with_thumbnail(picture(2))
    assert jpeg_end(image) == len(image)
    assert jpeg_end(image[:-2]) is None


def test_an_image_that_is_cut_in_front_of_the_next_is_damaged():
    scanner = JpegScanner()
    assert scanner.find_end(picture(1)[:-500] + picture(2)) is None
    assert scanner.damaged


def test_fill_bytes_in_front_of_markers_are_no_end():
    image = picture(1)
    assert jpeg_end(image[:2] + b"\xff\xff" + image[2:-2] + b"\xff\xff\xff\xd9") == len(image) + 4


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=40))
def test_finds_the_same_end_however_the_data_arrives(sizes):
    data = b"\r\n" + with_thumbnail(picture(3)) + b"more\xff\xd9"
    scanner, buffer, at, found = JpegScanner(), bytearray(), 0, None
    for size in [*sizes, len(data)]:
        buffer += data[at : at + size]
        at += size
        found = found or scanner.find_end(buffer)
    assert (scanner.start, found) == (2, len(data) - 6)


def test_an_image_with_a_trailer_is_complete_and_a_cut_one_is_not():
    image = with_thumbnail(picture(2))
    assert is_complete(image)
    assert is_complete(memoryview(image + b"ftypmp42" * 100))
    assert not is_complete(image[:-100])
    assert not is_complete(image[:-100] + bytes(4096))
    assert not is_complete(b"")
    assert not is_complete(b"GIF89a" + image)


@given(st.binary(max_size=200), st.sampled_from([b"", b"\xff\xd8", b"\xff\xd8\xff\xda\0\x02"]))
def test_arbitrary_bytes_never_raise(tail, start):
    end = jpeg_end(start + tail)
    assert end is None or (start + tail)[:end].endswith(b"\xff\xd9")
