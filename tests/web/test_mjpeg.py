"""/stream.mjpg: motion JPEG that dashboards show, within the limit of viewers."""

from __future__ import annotations

import socket
import time

import pytest

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web import mjpeg
from tests.web.conftest import ask
from tests.web.test_handlers import decoded, fed

REQUEST = b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"


def parts(connection: socket.socket, count: int) -> tuple[bytes, list[bytes]]:
    """The head of the response, and the first images, each by its Content-Length."""
    stream = connection.makefile("rb")
    head = b"".join(iter(stream.readline, b"\r\n"))
    assert b"chunked" in head.lower()
    body = Chunks(stream)
    assert body.line() == b"--edge-app-frame\r\n"
    images = []
    for _ in range(count):
        assert body.line() == b"Content-Type: image/jpeg\r\n"
        size = int(body.line().removeprefix(b"Content-Length: "))
        assert body.line() == b"\r\n"
        images.append(body.read(size))
        assert body.read(2) == b"\r\n"
        assert body.line() == b"--edge-app-frame\r\n"
    stream.close()
    return head, images


class Chunks:
    """The body of a chunked response."""

    def __init__(self, stream) -> None:
        self._stream, self._rest = stream, b""

    def read(self, size: int) -> bytes:
        while len(self._rest) < size:
            length = int(self._stream.readline(), 16)
            self._rest += self._stream.read(length + 2)[:-2]
        found, self._rest = self._rest[:size], self._rest[size:]
        return found

    def line(self) -> bytes:
        found = b""
        while not found.endswith(b"\n"):
            found += self.read(1)
        return found


def test_sends_images_as_parts_with_security_headers(page):
    with fed(page), socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection:
        connection.sendall(REQUEST)
        head, images = parts(connection, 3)
    assert b"multipart/x-mixed-replace; boundary=edge-app-frame" in head
    assert b"X-Content-Type-Options: nosniff" in head
    assert b"Cache-Control: no-store" in head
    assert [decoded(image).shape for image in images] == [(360, 640, 3)] * 3


def test_a_viewer_that_disconnects_is_no_longer_counted(page, monkeypatch):
    monkeypatch.setattr(mjpeg, "_POLL_S", 0.05)
    with socket.create_connection(("127.0.0.1", page.port), timeout=10) as connection:
        connection.sendall(REQUEST)
        wait_for(lambda: page._live.viewers == 1)
    wait_for(lambda: page._live.viewers == 0)


def test_viewers_of_the_stream_count_towards_the_limit(page):
    held = []
    for _ in range(4):
        held.append(socket.create_connection(("127.0.0.1", page.port), timeout=10))
        held[-1].sendall(REQUEST)
    wait_for(lambda: page._live.viewers == 4)
    status, _, body = ask(page, "/stream.mjpg")
    assert (status, body) == (503, b"the limit of 4 viewers is reached\n")
    for connection in held:
        connection.close()


def test_a_viewer_that_does_not_read_is_disconnected(page, monkeypatch):
    monkeypatch.setattr(mjpeg, "_SEND_TIMEOUT_S", 0.3)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", page.port))
        client.sendall(REQUEST)
        wait_for(lambda: page._live.viewers == 1)
        for queue in page._live._viewers:
            page._loop.call_soon_threadsafe(queue.put_nowait, mjpeg.Picture("", bytes(16 << 20)))
        wait_for(lambda: page._live.viewers == 0)


def wait_for(condition, timeout_s: float = 10.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.02)
