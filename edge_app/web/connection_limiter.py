"""How many may come in and how long they may dither: connections are counted, slow requests are shown out.

One request a connection: its headers must be there in time. Stands between asyncio and aiohttp's protocol.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_CONNECTIONS = 64
_HEADERS_S = 5.0
_HEADER_BYTES = 16 * 1024
_END = b"\r\n\r\n"


class ConnectionLimiter:
    """Makes the protocol of each connection; `opened` are in."""

    def __init__(self, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self.opened: set[LimitedProtocol] = set()

    def __call__(self) -> LimitedProtocol:
        return LimitedProtocol(self, self._make())

    @property
    def full(self) -> bool:
        return len(self.opened) >= _CONNECTIONS


class LimitedProtocol(asyncio.Protocol):
    """One connection: passes everything on to aiohttp's handler, once it is let in."""

    def __init__(self, door: ConnectionLimiter, handler: asyncio.Protocol) -> None:
        self._door = door
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._tail = b""
        self._count = 0

    def abort(self) -> None:
        """Show it out now."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if self._door.full:
            cast(asyncio.Transport, transport).abort()
            return
        self._transport = cast(asyncio.Transport, transport)
        self._door.opened.add(self)
        self._timer = asyncio.get_running_loop().call_later(_HEADERS_S, self._transport.abort)
        self._handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._transport is None:
            return
        if self._timer is not None:
            self._count += len(data)
            joined = self._tail + data
            self._tail = joined[-(len(_END) - 1) :]
            if _END in joined:
                self._timer.cancel()
                self._timer = None
            elif self._count > _HEADER_BYTES:
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
        if self._timer is not None:
            self._timer.cancel()
        if self._transport is not None:
            self._door.opened.discard(self)
            self._handler.connection_lost(exc)
