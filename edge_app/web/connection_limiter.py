"""Limit the connections: their number in total and per address, and the time of each one.

A layer between asyncio and aiohttp's protocol. It does not parse: whether a request is complete is aiohttp's decision,
and the server reports it by `LimitedProtocol.start_request`. Each connection serves one request.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from typing import cast

from edge_app.errors import foreign_text

_LOG = logging.getLogger(__name__)
_MAX_CONNECTIONS = 64
_MAX_PER_ADDRESS = 48
_REQUEST_TIMEOUT_S = 5.0  # from the accept until a handler runs
_RESPONSE_TIMEOUT_S = 15.0  # from then until the connection is closed
_MAX_REQUEST_BYTES = 16 * 1024  # received before a handler runs
_NEW_ITERATIONS = 8  # of the event loop: enough to answer a request that arrives with its connection
_BAD_REQUEST = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ConnectionLimiter:
    """A protocol factory for asyncio. build: creates aiohttp's protocol. open: the accepted connections.

    At the limit, a new connection replaces the oldest connection of the address that has the most. Connections that
    were just accepted are spared; if all of them were, the newest is replaced, so that in a flood the others get a
    response. Connections with a correct token are not replaced, and live views do not count.
    """

    def __init__(self, build: Callable[[], asyncio.Protocol]) -> None:
        self._build = build
        self._counted: dict[LimitedProtocol, None] = {}  # oldest first
        self.open: set[LimitedProtocol] = set()

    def __call__(self) -> LimitedProtocol:
        return LimitedProtocol(self, self._build())

    def admit(self, connection: LimitedProtocol) -> bool:
        """Count a new connection, if necessary in place of another one. Returns False if it must be closed."""
        crowded = self._crowded_address(connection.address)
        if crowded is not None:
            replaceable = [old for old in self._counted if old.address == crowded and not old.authorized]
            if not replaceable:
                return False
            replaced = next((old for old in replaceable if not old.new), replaceable[-1])
            self.stop_counting(replaced)
            replaced.abort()
        self._counted[connection] = None
        self.open.add(connection)
        return True

    def stop_counting(self, connection: LimitedProtocol) -> None:
        self._counted.pop(connection, None)

    def _crowded_address(self, address: str) -> str | None:
        """The address that must close a connection before `address` may open one; None if there is a free place."""
        counts = Counter(connection.address for connection in self._counted)
        if counts[address] >= _MAX_PER_ADDRESS:
            return address
        return counts.most_common(1)[0][0] if len(self._counted) >= _MAX_CONNECTIONS else None


class LimitedProtocol(asyncio.Protocol):
    """One connection. Forwards to aiohttp's protocol `handler`.

    address: of the client, as `client_network` groups it. authorized: whether its request had a correct token.
    """

    def __init__(self, limiter: ConnectionLimiter, handler: asyncio.Protocol) -> None:
        self.address = ""
        self.authorized = False
        self._limiter = limiter
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._received: int | None = 0  # bytes before the request; None after that
        self._iterations = 0  # of the event loop since the accept, at most _NEW_ITERATIONS

    @property
    def new(self) -> bool:
        """Whether a request that has arrived with this connection may still be unanswered."""
        return self._iterations < _NEW_ITERATIONS

    def start_request(self) -> None:
        """Called when a handler runs. The connection now has the time for its response."""
        if self._received is not None:
            self._received = None
            self._set_deadline(_RESPONSE_TIMEOUT_S)

    def keep_open(self) -> None:
        """No longer limit the time of this connection, nor count it."""
        self._set_deadline(None)
        self._limiter.stop_counting(self)

    def abort(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.address = client_network(transport.get_extra_info("peername"))
        if not self._limiter.admit(self):
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._set_deadline(_REQUEST_TIMEOUT_S)
        self._count_iterations()
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._received is not None:
            self._received += len(data)
            if self._received > _MAX_REQUEST_BYTES:
                self._transport.abort()
                return
        try:
            self._handler.data_received(data)
        except ValueError as exc:  # aiohttp 3.8: a URL that it cannot parse
            _LOG.warning("%s: malformed request (%s)", self.address, foreign_text(exc))
            self._transport.write(_BAD_REQUEST)
            self._transport.close()

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._set_deadline(None)
        if self._transport is not None:
            self._limiter.stop_counting(self)
            self._limiter.open.discard(self)
            self._handler.connection_lost(exc)

    def _count_iterations(self) -> None:
        if self.new:
            self._iterations += 1
            asyncio.get_running_loop().call_soon(self._count_iterations)

    def _set_deadline(self, after_s: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None
        if after_s is not None:
            self._deadline = asyncio.get_running_loop().call_later(after_s, self.abort)


def client_network(peer: object) -> str:
    """The client to which a peer address (host, port, …) belongs: its host, or the /64 network of an IPv6 host."""
    try:
        host = ipaddress.ip_address(str(cast(tuple[object, ...], peer)[0]).partition("%")[0])
    except (ValueError, TypeError, IndexError):  # disconnected already: there is no peer
        return ""
    if host.version == 4:
        return str(host)
    return str(host.ipv4_mapped or ipaddress.IPv6Network((int(host) >> 64 << 64, 64)))
