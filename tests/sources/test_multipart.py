"""_multipart: JPEGs of the streams that cameras send, complete and not."""

from __future__ import annotations

import random

import pytest

from edge_app.sources._multipart import JpegStream, MultipartError
from tests.sources.http_camera import picture

PICTURES = [picture(n) for n in range(4)]
MAX_BYTES = 100_000


def stream_of(parts, *, line="--frame", end=b"\r\n", length=True, separator=None, type_="image/jpeg"):
    out = b""
    for part in parts:
        size = b"Content-Length: %d%s" % (len(part), end) if length else b""
        out += line.encode() + end + b"Content-Type: " + type_.encode() + end + size + end
        out += part + (end if separator is None else separator)
    return out


def images(data, content_type="multipart/x-mixed-replace; boundary=frame", chunk=1000):
    """The images of a stream, and how many were dropped."""
    stream, found = JpegStream(content_type, MAX_BYTES), []
    for at in range(0, len(data), chunk):
        stream.feed(data[at : at + chunk])
        while stream.next_image():
            found.append(bytes(stream.image))
    return found, stream.dropped


@pytest.mark.parametrize("chunk", [1, 7, 1000, 10**6])
@pytest.mark.parametrize("length", [True, False], ids=["length", "no length"])
@pytest.mark.parametrize("end", [b"\r\n", b"\n"], ids=["crlf", "lf"])
@pytest.mark.parametrize(
    ("declared", "line"),
    [
        ("frame", "--frame"),
        ("--frame", "--frame"),
        ("--frame", "----frame"),
        ('"frame"', "--frame"),
        ('"--a b"', "--a b"),
        ("--video boundary--", "--video boundary--"),
        ("frame", "frame"),
        ("other", "--frame"),
        (None, "--frame"),
    ],
)
def test_reads_every_kind_of_boundary(declared, line, end, length, chunk):
    content_type = "multipart/x-mixed-replace" + ("" if declared is None else f";boundary={declared}")
    data = stream_of(PICTURES, line=line, end=end, length=length)
    assert images(data, content_type, chunk) == (PICTURES, 0)


@pytest.mark.parametrize("length", [True, False])
def test_an_image_is_complete_before_the_next_boundary_arrives(length):
    data = stream_of(PICTURES[:1], length=length, separator=b"")
    assert images(data) == (PICTURES[:1], 0)


@pytest.mark.parametrize("separator", [b"", b"\r\n\r\n", b"\0" * 100 + b"\r\n"])
def test_anything_may_stand_between_image_and_boundary(separator):
    for length in (True, False):
        assert images(stream_of(PICTURES, length=length, separator=separator)) == (PICTURES, 0)


@pytest.mark.parametrize("error", [-100, -1, 1, 100])
def test_a_wrong_length_costs_no_image(error):
    data = b""
    for each in PICTURES:
        header = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % (len(each) + error)
        data += header + each + b"\r\n"
    found, dropped = images(data + b"\r\n" * 100)
    assert (found, dropped) == (PICTURES, 0)


@pytest.mark.parametrize("chunk", [1, 997, 10**6])
@pytest.mark.parametrize("separator", [b"\r\n", b""])
@pytest.mark.parametrize("length", [True, False])
def test_an_incomplete_image_is_dropped_and_the_next_is_read(length, separator, chunk):
    parts = [PICTURES[0], PICTURES[1][:-300], PICTURES[2], b"", b"\xff\xd8", PICTURES[3]]
    data = stream_of(parts, length=length, separator=separator)
    assert images(data, chunk=chunk) == ([PICTURES[0], PICTURES[2], PICTURES[3]], 3)


def test_the_boundary_inside_an_image_with_a_length_does_not_end_it():
    comment = b"x\r\n--frame\r\n\r\n"
    image = PICTURES[0][:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + PICTURES[0][2:]
    assert images(stream_of([image, PICTURES[1]])) == ([image, PICTURES[1]], 0)


def test_a_short_boundary_occurs_by_chance_inside_an_image_without_its_dashes():
    comment = b"x\r\nf\r\n\r\n"
    image = PICTURES[0][:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + PICTURES[0][2:]
    data = stream_of([image, PICTURES[1]], line="--f", length=False)
    assert images(data, "multipart/x-mixed-replace; boundary=f") == ([image, PICTURES[1]], 0)


def test_parts_of_other_types_are_skipped():
    text = stream_of([b"motion: 1" * 20_000], type_="text/plain")
    for length in (True, False):
        data = stream_of(PICTURES[:1], length=length) + text + stream_of(PICTURES[1:], length=length)
        assert images(data) == (PICTURES, 0)


def test_the_last_boundary_ends_the_stream():
    stream = JpegStream("multipart/x-mixed-replace; boundary=frame", MAX_BYTES)
    stream.feed(stream_of(PICTURES[:1]) + b"--frame--\r\n" + stream_of(PICTURES[1:]))
    assert stream.next_image()
    assert not stream.next_image()
    assert stream.ended


def test_text_before_the_first_boundary_is_skipped():
    assert images(b"This is a stream.\r\n\r\n" + stream_of(PICTURES)) == (PICTURES, 0)


@pytest.mark.parametrize(
    ("data", "content_type", "text"),
    [
        (
            b"--frame\r\nContent-Length: 100001\r\n\r\n",
            "x/y; boundary=frame",
            "100001 bytes; expected at most max_bytes",
        ),
        (b"--frame\r\n\r\n\xff\xd8\xff\xda\0\2" + b"a" * 200_000, "x/y; boundary=frame", "more than 100000 bytes"),
        (b"--frame\r\n" + b"X-Many: 1\r\n" * 10_000, "x/y; boundary=frame", "header of a part with more than 8192"),
        (b"a" * 1000, "multipart/x-mixed-replace", "no boundary between the images"),
    ],
)
def test_a_stream_beyond_a_limit_is_an_error(data, content_type, text):
    with pytest.raises(MultipartError, match=text):
        images(data, content_type)


def test_memory_is_bounded_whatever_arrives():
    generator = random.Random(5)
    pieces = [b"--frame", b"--", b"\r\n", b"\r\n\r\n", b"\xff\xd8", b"\xff\xd9", b"Content-Length: 9", b"a" * 999]
    pieces += [b"Content-Type: text/plain\r\n", b"Content-Type: image/jpeg\r\n"]
    for _ in range(20):
        stream = JpegStream("multipart/x-mixed-replace; boundary=frame", 20_000)
        stream.feed(b"--frame\r\n\r\n")
        try:
            for _ in range(500):
                stream.feed(b"".join(generator.choices(pieces, k=10)))
                while stream.next_image():
                    assert len(stream.image) <= 40_000
                assert len(stream._buffer) < 60_000
        except MultipartError:
            pass
