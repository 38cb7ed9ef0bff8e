"""http against hostile streams and images: limits of time, memory, bytes and pixels."""

from __future__ import annotations

import re
import time

import pytest

from edge_app.errors import SourceError
from tests.hostile_peers import Connection, HostilePeer
from tests.sources import network
from tests.sources.http_camera import Camera, Handler, open_source, picture, read

STREAM = b"Content-Type: multipart/x-mixed-replace; boundary=x\r\n"


def send_without_end(c: Connection, start: bytes, rest: bytes) -> None:
    """Send a response. start: of its header and body; rest: is repeated."""
    c.send(c.protocol.status_line + start)
    while True:
        c.send(rest)


def endless_part(c: Connection) -> None:
    send_without_end(c, STREAM + b"\r\n--x\r\n\r\n" + picture(1)[:-2], b"a" * 65536)


def endless_text(c: Connection) -> None:
    send_without_end(c, STREAM + b"\r\n--x\r\nContent-Type: text/plain\r\n\r\n", b"a" * 65536)


def endless_preamble(c: Connection) -> None:
    send_without_end(c, STREAM + b"\r\nhello\r\n", b"-x" * 32768)


def image_by_the_byte(c: Connection) -> None:
    c.send(c.protocol.status_line + STREAM + b"\r\n--x\r\n\r\n")
    for byte in picture(1):
        c.send(bytes([byte]))
        c.wait(0.05)


def endless_chunk_size(c: Connection) -> None:
    send_without_end(c, STREAM + b"Transfer-Encoding: chunked\r\n\r\n", b"0" * 65536)


def endless_snapshot(c: Connection) -> None:
    send_without_end(c, b"Content-Type: image/jpeg\r\n\r\n" + picture(1)[:-2], b"a" * 65536)


@pytest.mark.parametrize(
    "attack",
    [endless_part, endless_text, endless_preamble, image_by_the_byte, endless_chunk_size, endless_snapshot],
    ids=lambda attack: attack.__name__,
)
def test_a_hostile_stream_ends_in_time_and_memory_is_bounded(attack):
    with HostilePeer(attack) as peer:
        source = network.open_source("http", f"127.0.0.1:{peer.port}/")
        before_bytes, started_s = network.reset_peak(), time.monotonic()
        with pytest.raises(SourceError) as caught:
            network.read_until_lost(source)
        source.close()
        assert time.monotonic() - started_s < source.live.hang_after_s
    assert network.peak_bytes() - before_bytes < 40 << 20
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("kind", ["stream", "snapshot"])
def test_an_image_beyond_the_size_limit_is_an_error(kind):
    def answer(handler: Handler) -> None:
        if kind == "snapshot":
            handler.reply(200, picture(1), Content_Type="image/jpeg")
            return
        handler.start_stream()
        handler.send_part(picture(1))

    with Camera(answer) as camera:
        source = open_source(camera, max_bytes=2000)
        with pytest.raises(SourceError, match="max_bytes"):
            read(source)
        source.close()


def test_an_image_with_too_many_pixels_is_an_error():
    image = bytearray(picture(1))
    at = re.search(rb"\xff\xc0", image).start()
    image[at + 5 : at + 9] = b"\xff\xdc\xff\xdc"
    with Camera(lambda handler: handler.reply(200, bytes(image), Content_Type="image/jpeg")) as camera:
        source = open_source(camera)
        with pytest.raises(SourceError, match="has 65500 x 65500 pixels; expected at most"):
            read(source)
        source.close()
