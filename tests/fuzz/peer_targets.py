"""Targets that read what a peer sends: on the network, the serial line, the status socket, to the page."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
import time
from typing import ClassVar

from edge_app.clock import SystemClock
from edge_app.commands import CommandError, parse
from edge_app.commands.parsing import id_of
from edge_app.config.services import WebConfig
from edge_app.daemon import status_socket
from edge_app.errors import ConfigError, SinkError, SourceError, foreign_text
from edge_app.messages import Encoder, Stamp
from edge_app.options.secret import Secret
from edge_app.sinks import SinkContext, _frames
from edge_app.sinks.http import Sink as HttpSink
from edge_app.sinks.mqtt import Sink as MqttSink
from edge_app.sources._http_login import Login
from edge_app.sources._multipart import JpegStream, MultipartError
from edge_app.sources.http import Source as HttpSource
from edge_app.web.server import PageServer
from tests.fuzz import peers
from tests.fuzz.registry import folder, target, write
from tests.web.conftest import TOKEN, page_data


@target(_frames.BrokenFrame)
def serial_frame(data: bytes) -> None:
    """Also: every frame that is accepted is encoded to the same bytes."""
    for piece in _frames.Splitter(4096).feed(data + b"\0"):
        frame = _frames.unpack(piece)
        assert _frames.unpack(_frames.pack(frame).strip(b"\0")) == frame


@functools.cache
def _peer() -> peers.Answering:
    return peers.on_loopback()


_CONTEXT = SinkContext("cam-1", "fuzz", SystemClock())
_MESSAGE = Encoder("cam-1", "boot", {}).status(1, Stamp(1, 1_700_000_000_000_000_000, True), {"up": 1})


@target(SinkError)
def http_answer(data: bytes) -> None:
    _peer().reply = data
    sink = HttpSink(_CONTEXT, url=f"http://127.0.0.1:{_peer().port}/", timeout_s=1.0)
    try:
        sink.send([_MESSAGE])
    finally:
        sink.close()


@target(SourceError)
def http_camera(data: bytes) -> None:
    """The input is all that a camera answers, to each request."""
    _peer().reply = data
    source = HttpSource(SystemClock(), url=f"http://u:p@127.0.0.1:{_peer().port}/", fps=100.0, timeout_s=1.0)
    with contextlib.closing(source):
        for _ in range(3):
            source.read(0.1)


@target()
def http_challenge(data: bytes) -> None:
    """The input is a header WWW-Authenticate. Also: the answer is one printable line."""
    login = Login("user", "pass")
    if login.accept([data.decode("latin-1")]):
        assert str(login.authorization("GET", "/")).isprintable()


@target(MultipartError)
def jpeg_stream(data: bytes) -> None:
    """The input is a header Content-Type, a NUL, and a stream. Also: it arrives in any pieces with the same result."""
    header, _, body = data.partition(b"\0")
    found = [_images(header.decode("latin-1"), body, size) for size in (len(body) + 1, 61)]
    assert found[0] == found[1]


def _images(content_type: str, body: bytes, piece: int) -> list[bytes]:
    stream, found = JpegStream(content_type, 1 << 20), list[bytes]()
    for at in range(0, len(body), piece):
        stream.feed(body[at : at + piece])
        while stream.next_image():
            assert stream.image.startswith(b"\xff\xd8")
            assert stream.image.endswith(b"\xff\xd9")
            found.append(bytes(stream.image))
    return found


@target(SinkError)
def mqtt_packets(data: bytes) -> None:
    """The input is all that the broker sends."""
    _talk(data)


@target(SinkError)
def mqtt_message(data: bytes) -> None:
    """The input is the payload of a message on Home Assistant's topic."""
    body = len(b"homeassistant/status").to_bytes(2, "big") + b"homeassistant/status" + data
    _talk(b"\x20\x02\0\0" + b"\x30" + _remaining_length(len(body)) + body)


def _talk(data: bytes) -> None:
    _peer().reply = data
    sink = MqttSink(_CONTEXT, host="127.0.0.1", port=_peer().port, ack_timeout_s=0.5, home_assistant=True)
    end = time.monotonic() + 0.5
    try:
        while time.monotonic() < end:
            sink.idle()  # raises SinkError once the peer has closed
    finally:
        sink.close()


def _remaining_length(number: int) -> bytes:
    out = bytearray()
    while True:
        number, digit = divmod(number, 128)
        out.append(digit | (128 if number else 0))
        if not number:
            return bytes(out)


@target(ConfigError)
def status_answer(data: bytes) -> None:
    _status_peer().reply = data
    status_socket.as_table(status_socket.request_status(folder("status")))


@functools.cache
def _status_peer() -> peers.Answering:
    return peers.on_path(str(folder("status") / status_socket.FILE))


@target(CommandError)
def command(data: bytes) -> None:
    """A name and a payload, with a line feed between them."""
    name, _, payload = data.partition(b"\n")
    parsed = parse(name.decode("utf-8", "replace"), payload)
    assert parsed.name.isprintable() or parsed.target
    id_of(payload)


@target()
def page_request(data: bytes) -> None:
    """All that a client sends to the page. No answer is a 500, and nothing is logged with a traceback."""
    with socket.create_connection(("127.0.0.1", _page().port), 1.0) as client, contextlib.suppress(OSError):
        client.settimeout(0.2)
        client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
        assert b" 500 " not in answer.partition(b"\r\n")[0]
    if _TRACEBACKS.records:
        raise AssertionError("a traceback in the log") from _TRACEBACKS.records.pop()


class _Tracebacks(logging.Handler):
    """Collects the exceptions that are logged."""

    records: ClassVar[list[BaseException]] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.records.append(record.exc_info[1])


_TRACEBACKS = _Tracebacks()


@functools.cache
def _page() -> PageServer:
    logging.getLogger().addHandler(_TRACEBACKS)
    token = Secret("file", str(write("page", TOKEN.encode(), "token")))
    return PageServer(WebConfig(enabled=True, port=0, token=token), page_data())


@target()
def foreign_message(data: bytes) -> None:
    text = foreign_text(data.decode("utf-8", "surrogateescape"))
    assert text.isprintable()
    assert len(text) <= 201
