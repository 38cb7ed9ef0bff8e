"""One viewer of the live view: a WebSocket that gets pictures, and is closed if it does not read them.

Not here: encoding (live.py), the number of viewers and their access (handlers.py, guard.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from edge_app.web.connection_limiter import LimitedProtocol
from edge_app.web.live import LiveView, Picture

if TYPE_CHECKING:
    from aiohttp import web

_MAX_MESSAGE_BYTES = 1024  # from a viewer
_PING_EVERY_S = 20.0
_SEND_TIMEOUT_S = 5.0  # of one picture


async def serve(request: web.Request, connection: LimitedProtocol, live: LiveView) -> web.StreamResponse:
    """Send pictures until the viewer disconnects: a text message (results, overlay), then a binary one (JPEG).

    Raises HTTPBadRequest if the request is not a WebSocket handshake.
    """
    from aiohttp.web import HTTPBadRequest, WebSocketResponse

    socket = WebSocketResponse(max_msg_size=_MAX_MESSAGE_BYTES, heartbeat=_PING_EVERY_S, compress=False)
    async with live.subscribe() as pictures:
        try:
            await socket.prepare(request)
        except ValueError as exc:  # of aiohttp, for a key that is not base64
            raise HTTPBadRequest(text="malformed WebSocket handshake") from exc
        connection.keep_open()
        closed = asyncio.get_running_loop().create_task(_until_closed(socket))
        try:
            await _send_pictures(socket, pictures, closed)
        except (ConnectionError, RuntimeError, asyncio.TimeoutError):  # the viewer disconnected or is too slow
            connection.abort()
        finally:
            closed.cancel()
    return socket


async def _until_closed(socket: web.WebSocketResponse) -> None:
    """Discard the viewer's messages until it disconnects."""
    async for _ in socket:
        pass


async def _send_pictures(
    socket: web.WebSocketResponse, pictures: asyncio.Queue[Picture], closed: asyncio.Task[None]
) -> None:
    """Send pictures until the viewer disconnects. Raises asyncio.TimeoutError if it does not read fast enough."""
    while not closed.done():
        try:
            picture = await asyncio.wait_for(pictures.get(), 1.0)
        except asyncio.TimeoutError:
            continue
        await asyncio.wait_for(_send(socket, picture), _SEND_TIMEOUT_S)


async def _send(socket: web.WebSocketResponse, picture: Picture) -> None:
    await socket.send_str(picture.results)
    await socket.send_bytes(picture.jpeg)
