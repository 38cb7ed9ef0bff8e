"""A client of paho that limits what a broker may send. For paho 1.6 and 2.

paho reads a packet of any size into memory, and its timeouts hold for one system call each. Here, the caller opens the
connection, and the socket that paho gets refuses to read too much.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edge_app.errors import ConfigError
from edge_app.network.tls import client_context

_MAX_PACKET_BYTES = 4096  # expected: acknowledgments, and `online` from Home Assistant
_BURST_BYTES = 16 * 1024
_ACKNOWLEDGMENT_BYTES = 4


class LimitedSocket:
    """A connected socket. excess: the limit that the broker exceeded, if any.

    bytes_per_s: that the broker may send on average, without acknowledgments.
    """

    def __init__(self, connection: socket.socket, bytes_per_s: float) -> None:
        self._connection = connection
        self._bytes_per_s = bytes_per_s
        self._bytes_left: float = _BURST_BYTES
        self._checked_s = time.monotonic()
        self.excess: str | None = None

    def recv(self, size: int) -> bytes:
        """Receive. The library asks for the rest of a packet at once, so a large `size` means a large packet."""
        now_s = time.monotonic()
        self._bytes_left = min(_BURST_BYTES, self._bytes_left + (now_s - self._checked_s) * self._bytes_per_s)
        self._checked_s = now_s
        if size > _MAX_PACKET_BYTES:
            self.excess = f"a packet of {size} bytes; expected at most {_MAX_PACKET_BYTES}"
        elif self._bytes_left <= 0:
            self.excess = (
                f"too much; expected at most {self._bytes_per_s:g} bytes per second in addition to acknowledgments"
            )
        if self.excess:
            raise ConnectionError
        data = self._connection.recv(size)
        self._bytes_left -= len(data)
        return data

    def count_acknowledgment(self) -> None:
        """Acknowledgments do not count towards the limit."""
        self._bytes_left += _ACKNOWLEDGMENT_BYTES

    def pending(self) -> int:
        """Bytes that are decrypted and not read yet. `poll` does not report them."""
        return self._connection.pending() if isinstance(self._connection, ssl.SSLSocket) else 0

    def send(self, data: bytes) -> int:
        return self._connection.send(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def tls_context(tls: bool, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """The context of the options of a sink; None without TLS. Raises ConfigError."""
    if tls:
        return client_context(ca, cert, key)
    if ca or cert or key:
        raise ConfigError("found ca, cert or key without TLS; expected tls: true")
    return None


def new_client(paho: Any, client_id: str, connect: Callable[[], LimitedSocket]) -> Any:
    """A client that uses the connection of `connect`. paho: the module paho.mqtt.client."""

    class Client(paho.Client):  # type: ignore[misc]  # paho is imported when a sink is constructed
        def _create_socket_connection(self) -> LimitedSocket:
            return connect()

    options = {"client_id": client_id, "clean_session": True, "reconnect_on_failure": False}
    if hasattr(paho, "CallbackAPIVersion"):  # paho 2
        options["callback_api_version"] = paho.CallbackAPIVersion.VERSION2
    return Client(**options)
