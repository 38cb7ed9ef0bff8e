"""Hostile TCP peers on loopback for the contract suites of network sinks and sources.

    with HostilePeer(attack) as peer:                          # a peer of HTTP
        build(url=f"http://127.0.0.1:{peer.port}/")
    with HostilePeer(attack, RTSP, good_replies=1) as peer:    # answers OPTIONS properly, then attacks

Parametrize with ATTACKS: each is a function that gets a Connection. The same attacks serve every request/response
protocol; a Protocol has what differs. Everything is bounded: a connection sends at most MAX_BYTES, lives at most
MAX_S, and `close` ends all threads.
"""

from __future__ import annotations

import re
import socket
import struct
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

MAX_S = 20.0  # longer than every timeout that a suite configures
MAX_BYTES = 512 << 20
_CHUNK = b"a" * 65536


@dataclass(frozen=True)
class Protocol:
    """What a peer must know of a protocol. status_line: of a good reply. headers: of a good reply, without a body."""

    status_line: bytes
    headers: bytes = b""

    def reply(self, request: bytes) -> bytes:
        """A good reply without a body to one request."""
        sequence = re.search(rb"(?im)^cseq: *\d+\r$", request)
        echoed = sequence[0].rstrip() + b"\r\n" if sequence else b""
        return self.status_line + echoed + self.headers + b"\r\n"


HTTP = Protocol(b"HTTP/1.1 200 OK\r\n", b"Content-Length: 0\r\n")
RTSP = Protocol(b"RTSP/1.0 200 OK\r\n", b"Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n")


@dataclass
class Connection:
    """One accepted connection. sent: bytes so far. request: the last one. Methods raise OSError once it is closed."""

    socket: socket.socket
    protocol: Protocol
    stopped: threading.Event
    sent: int = 0
    request: bytes = b""
    deadline_s: float = field(default_factory=lambda: time.monotonic() + MAX_S)

    def send(self, data: bytes) -> None:
        if self.stopped.is_set() or time.monotonic() > self.deadline_s or self.sent > MAX_BYTES:
            raise ConnectionAbortedError
        self.socket.sendall(data)
        self.sent += len(data)

    def receive_request(self) -> bytes:
        """Read up to the end of a request's header."""
        data = b""
        while b"\r\n\r\n" not in data:
            part = self.socket.recv(4096)
            if not part or len(data) > 1 << 20:
                raise ConnectionAbortedError
            data += part
        self.request = data
        return data

    def wait(self, seconds: float) -> None:
        if self.stopped.wait(seconds) or time.monotonic() > self.deadline_s:
            raise ConnectionAbortedError

    def hold(self) -> None:
        """Keep the connection open without sending."""
        self.wait(max(0.0, self.deadline_s - time.monotonic()))


Attack = Callable[[Connection], None]


def never_answers(c: Connection) -> None:
    c.hold()


def sends_garbage(c: Connection) -> None:
    c.send(bytes(range(256)) * 64)
    c.hold()


def endless_garbage(c: Connection) -> None:
    while True:
        c.send(bytes(range(256)) * 256)


def endless_header_line(c: Connection) -> None:
    c.send(c.protocol.status_line + b"X-Long: ")
    while True:
        c.send(_CHUNK)


def endless_headers(c: Connection) -> None:
    c.send(c.protocol.status_line)
    while True:
        c.send(b"X-Many: 1\r\n" * 1000)


def endless_continue(c: Connection) -> None:
    version = c.protocol.status_line.split()[0]
    while True:
        c.send((version + b" 100 Continue\r\n\r\n") * 100)


def header_by_the_byte(c: Connection) -> None:
    """One byte a second, so that a timeout for each read never expires."""
    for byte in c.protocol.status_line + b"X-Slow: " + b"a" * 1000:
        c.send(bytes([byte]))
        c.wait(1.0)


def body_by_the_byte(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Length: 1000\r\n\r\n")
    for _ in range(1000):
        c.send(b"a")
        c.wait(1.0)


def huge_body(c: Connection) -> None:
    """A body of 2 GB is announced; MAX_BYTES of it are sent."""
    c.send(c.protocol.status_line + b"Content-Type: application/sdp\r\nContent-Length: 2000000000\r\n\r\n")
    while True:
        c.send(_CHUNK)


def body_without_end(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Connection: close\r\n\r\n")
    while True:
        c.send(_CHUNK)


def body_cut_short(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Length: 1000\r\n\r\n" + b"a" * 10)


def closes_at_once(c: Connection) -> None:
    del c


def resets(c: Connection) -> None:
    c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def control_characters(c: Connection) -> None:
    """An ESC sequence in the reason phrase."""
    version = c.protocol.status_line.split()[0]
    c.send(version + b" 500 \x1b[31mred\x07\x00 \xff\r\nContent-Length: 0\r\n\r\n")


def odd_lengths(c: Connection) -> None:
    c.send(c.protocol.status_line + b"Content-Length: -5\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n")
    c.hold()


ATTACKS: tuple[Attack, ...] = (
    never_answers,
    sends_garbage,
    endless_garbage,
    endless_header_line,
    endless_headers,
    endless_continue,
    header_by_the_byte,
    body_by_the_byte,
    huge_body,
    body_without_end,
    body_cut_short,
    closes_at_once,
    resets,
    control_characters,
    odd_lengths,
)


class HostilePeer:
    """A server on a free port of 127.0.0.1 that attacks every client, after good_replies proper replies."""

    def __init__(self, attack: Attack, protocol: Protocol = HTTP, *, good_replies: int = 0) -> None:
        self._attack = attack
        self._protocol = protocol
        self._good_replies = good_replies
        self._stopped = threading.Event()
        self._threads: list[threading.Thread] = []
        self._sockets: list[socket.socket] = []
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.connections = 0

    def __enter__(self) -> HostilePeer:
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stopped.set()
        for each in (self._server, *self._sockets):
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self._threads:
            thread.join(5.0)

    def _start(self, run: Callable[[], None]) -> None:
        thread = threading.Thread(target=run, name="hostile peer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                accepted, _ = self._server.accept()
            except OSError:
                return
            self.connections += 1
            self._sockets.append(accepted)
            accepted.settimeout(MAX_S)
            self._start(lambda accepted=accepted: self._serve(accepted))

    def _serve(self, accepted: socket.socket) -> None:
        connection = Connection(accepted, self._protocol, self._stopped)
        with accepted, suppress(OSError):
            for _ in range(self._good_replies):
                connection.send(self._protocol.reply(connection.receive_request()))
            if self._attack is not closes_at_once:
                connection.receive_request()
            self._attack(connection)
