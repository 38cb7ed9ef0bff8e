"""TCP and TLS connections whose steps share one deadline, and the check of an address.

Not here: certificates and the texts of TLS errors (tls.py), limits on what an MQTT broker sends (sinks/_paho.py).
"""

from __future__ import annotations

import errno
import io
import select
import socket
import ssl
import time
from typing import TYPE_CHECKING

from edge_app.errors import OptionError
from edge_app.options.name_lookup import look_up
from edge_app.options.url import Url

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer


class Deadline:
    """A time limit for several steps."""

    def __init__(self, timeout_s: float) -> None:
        self._end = time.monotonic() + timeout_s

    def left_s(self) -> float:
        """Seconds that are left, more than 0. Raises TimeoutError if none are."""
        left_s = self._end - time.monotonic()
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        return left_s

    def is_over(self) -> bool:
        return time.monotonic() >= self._end


def check_host(option: str, host: str) -> None:
    """Raises OptionError unless `host` is a name or an IP address. Does not quote it: it may be part of a password."""
    try:
        if "://" in host:
            raise ValueError("found an address with a scheme; expected the name or IP address alone: see port and tls")
        if host.count(":") == 1 and "@" not in host:
            raise ValueError("found a host with a port; expected the name or IP address alone: see port")
        if any(character in host for character in "/?#@[]"):
            raise ValueError("found a character that no host has; expected a name or an IP address")
        Url("tcp").parse(f"tcp://[{host}]" if ":" in host else f"tcp://{host}")
    except ValueError as exc:
        raise OptionError(option, str(exc)) from None


def connect(host: str, port: int, deadline: Deadline, tls: ssl.SSLContext | None) -> socket.socket:
    """Resolve the host and connect, with TLS if a context is given. Raises OSError."""
    addresses = look_up(host, port, deadline.left_s())
    failure = OSError(errno.EADDRNOTAVAIL, "the name has no address")
    for n, (family, type_, protocol, _, address) in enumerate(addresses):
        connection = socket.socket(family, type_, protocol)
        try:
            connection.settimeout(deadline.left_s() / (len(addresses) - n))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is None:
                return connection
            connection.settimeout(deadline.left_s())
            return tls.wrap_socket(connection, server_hostname=host)
        except OSError as exc:
            connection.close()
            failure = exc
    raise failure


class BoundedSocket:
    """A socket for http.client. One deadline and one number of received bytes limit each request."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.deadline = Deadline(0)
        self.bytes_left = 0

    def begin(self, deadline: Deadline, max_bytes: int) -> None:
        """Start a request."""
        self.deadline, self.bytes_left = deadline, max_bytes

    def sendall(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            self._connection.settimeout(self.deadline.left_s())
            rest = rest[self._connection.send(rest) :]

    def has_data(self) -> bool:
        """Whether received bytes, or the end of the connection, wait to be read."""
        if isinstance(self._connection, ssl.SSLSocket) and self._connection.pending():
            return True
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(0))

    def makefile(self, mode: str) -> io.BufferedReader:  # noqa: ARG002  http.client asks for "rb"
        return io.BufferedReader(_Reader(self, self._connection))

    def close(self) -> None:
        """The connection stays open until the last file of it is closed too, as with `socket.socket`."""
        self._connection.close()


class _Reader(io.RawIOBase):
    """The received bytes of a BoundedSocket. Reading raises OSError at the deadline and at the limit."""

    def __init__(self, bounds: BoundedSocket, connection: socket.socket) -> None:
        self._bounds = bounds
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        bounds = self._bounds
        if bounds.bytes_left <= 0:
            raise OSError(errno.EMSGSIZE, "the response is too long")
        self._connection.settimeout(bounds.deadline.left_s())
        count: int = self._raw.readinto(memoryview(buffer)[: bounds.bytes_left]) or 0
        bounds.bytes_left -= count
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()
