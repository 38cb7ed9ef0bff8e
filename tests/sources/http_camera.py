"""A camera over HTTP on loopback: a script answers each request, with numbered pictures; and a source that reads it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType

import cv2
import numpy as np

from edge_app.clock import SystemClock
from edge_app.sources.http import Source

WIDTH, HEIGHT = 96, 64
_CELL = 16  # pixels; the upper row of cells shows the number in binary


def picture(number: int, quality: int = 90) -> bytes:
    """A JPEG with noise, whose upper row shows a number below 64."""
    image = np.random.default_rng(number).integers(90, 160, (HEIGHT, WIDTH, 3), np.uint8)
    for bit in range(WIDTH // _CELL):
        image[:_CELL, bit * _CELL : (bit + 1) * _CELL] = 255 * (number >> bit & 1)
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def number_of(pixels: np.ndarray) -> int:
    """The number that a decoded picture shows."""
    cells = pixels[_CELL // 2, _CELL // 2 :: _CELL, 0] > 127
    return sum(int(cell) << bit for bit, cell in enumerate(cells))


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    camera: Camera

    def do_GET(self) -> None:
        with self.camera.lock:
            self.camera.requests.append((self.path, self.headers.get("Authorization")))
        self.camera.answer(self)

    def reply(self, status: int, body: bytes = b"", **headers: str) -> None:
        """Send a complete response. headers: with _ for -."""
        self.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def start_stream(
        self, content_type: str = "multipart/x-mixed-replace; boundary=frame", *, chunked: bool = False
    ) -> None:
        self.send_response(200)
        self.send_header("Content-Type", content_type)
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True

    def send_part(self, image: bytes) -> None:
        header = b"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
        self.wfile.write(header % len(image) + image + b"\r\n")

    def log_message(self, *arguments: object) -> None:
        del arguments


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    connections = 0

    def process_request(self, *arguments: object) -> None:
        self.connections += 1
        super().process_request(*arguments)

    def handle_error(self, *arguments: object) -> None:
        """The client closes the connection of a stream."""


class Camera:
    """answer: gets the handler of each request. requests: path and Authorization of each. context: for TLS."""

    def __init__(self, answer: Callable[[Handler], None], context=None) -> None:
        self.answer = answer
        self.requests: list[tuple[str, str | None]] = []
        self.lock = threading.Lock()
        self.go_on = threading.Semaphore(0)  # for answers that wait for the test
        self._server = _Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"camera": self}))
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return self._server.connections

    def __enter__(self) -> Camera:
        self._thread.start()
        return self

    def __exit__(
        self, type_: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for _ in range(100):
            self.go_on.release()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def open_source(camera, path="/video", login="", **options):
    """The source `http`, for a camera of this module. login: user:password, as in an address."""
    login = f"{login}@" if login else ""
    return Source(SystemClock(), url=f"http://{login}{camera.address}{path}", **{"timeout_s": 2.0, **options})


def read(source):
    """The next frame, as its number."""
    end_s = time.monotonic() + 5.0
    while time.monotonic() < end_s:
        frame = source.read(0.1)
        if frame is not None:
            assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
            return number_of(frame.pixels)
    raise AssertionError("no frame")


def stream(*parts, content_type="multipart/x-mixed-replace; boundary=frame"):
    """An answer that sends a part whenever the test lets it go on."""

    def answer(handler: Handler) -> None:
        handler.start_stream(content_type)
        for part in parts:
            handler.wfile.write(part)
            handler.camera.go_on.acquire()

    return answer


def part(number, end=b"\r\n", line=b"--frame", *, length=True, image=None):
    """A part of a stream. line: its boundary; length: whether it has a Content-Length."""
    image = picture(number) if image is None else image
    size = b"Content-Length: %d%s" % (len(image), end) if length else b""
    return line + end + b"Content-Type: image/jpeg" + end + size + end + image + end


def numbered(handler: Handler) -> None:
    """An answer: a snapshot with the number of earlier requests."""
    number = len(handler.camera.requests) - 1
    handler.reply(200, picture(number), Content_Type="image/jpeg")
