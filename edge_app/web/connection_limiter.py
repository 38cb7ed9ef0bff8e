"""Limit the number of connections and the time that a client may take to send its headers.

A layer between asyncio and aiohttp's protocol. Each connection serves one request.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_MAX_CONNECTIONS = 64
_HEADERS_TIMEOUT_S = 5.0
_MAX_HEADER_BYTES = 16 * 1024
_END_OF_HEADERS = b"\r\n\r\n"


class ConnectionLimiter:
    """A protocol factory for asyncio. open: the accepted connections. build: creates aiohttp's protocol."""

    def __init__(self, build: Callable[[], asyncio.Protocol]) -> None:
        self._build = build
        self.open: set[LimitedProtocol] = set()

    def __call__(self) -> LimitedProtocol:
        return LimitedProtocol(self, self._build())

    @property
    def full(self) -> bool:
        return len(self.open) >= _MAX_CONNECTIONS


class LimitedProtocol(asyncio.Protocol):
    """One connection. Forwards to aiohttp's protocol `handler`, unless the limit of connections is reached."""

    def __init__(self, limiter: ConnectionLimiter, handler: asyncio.Protocol) -> None:
        self._limiter = limiter
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._headers_timer: asyncio.TimerHandle | None = None
        self._tail = b""
        self._received = 0

    def abort(self) -> None:
        """Close the connection immediately."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._limiter.full:
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._limiter.open.add(self)
        self._headers_timer = asyncio.get_running_loop().call_later(_HEADERS_TIMEOUT_S, self._transport.abort)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._headers_timer is not None:
            self._received += len(data)
            joined = self._tail + data
            self._tail = joined[-(len(_END_OF_HEADERS) - 1) :]
            if _END_OF_HEADERS in joined:
                self._headers_timer.cancel()
                self._headers_timer = None
            elif self._received > _MAX_HEADER_BYTES:
                self._transport.abort()
                return
        self._handler.data_received(data)

    def eof_received(self) -> bool | None:
        return self._handler.eof_received() if self._transport is not None else None

    def pause_writing(self) -> None:
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        self._handler.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
        if self._transport is not None:
            self._limiter.open.discard(self)
            self._handler.connection_lost(exc)
