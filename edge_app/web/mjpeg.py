"""One viewer of /stream.mjpg: motion JPEG (multipart/x-mixed-replace), for dashboards that show an image by its URL.

Not here: encoding (live.py), the number of viewers and their access (handlers.py, guard.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING

from edge_app.web.connection_limiter import LimitedProtocol
from edge_app.web.live import Picture

if TYPE_CHECKING:
    from aiohttp import web

_BOUNDARY = "edge-app-frame"
_SEND_TIMEOUT_S = 5.0  # of one picture
_POLL_S = 1.0  # how often a viewer that has disconnected is noticed while there are no pictures


async def serve(
    request: web.Request,
    connection: LimitedProtocol,
    subscription: AbstractAsyncContextManager[asyncio.Queue[Picture]],
    secure: Callable[[web.StreamResponse], None],
) -> web.StreamResponse:
    """Send pictures until the viewer disconnects or reads too slowly. secure: sets the security headers."""
    from aiohttp.web import StreamResponse

    response = StreamResponse(headers={"Content-Type": f"multipart/x-mixed-replace; boundary={_BOUNDARY}"})
    secure(response)
    response.force_close()
    async with subscription as pictures:
        await response.prepare(request)
        if request.method == "HEAD":
            return response
        connection.keep_open()
        try:
            await _send_pictures(request, response, pictures)
        except (ConnectionError, RuntimeError, asyncio.TimeoutError):  # the viewer disconnected or is too slow
            connection.abort()
    return response


async def _send_pictures(request: web.Request, response: web.StreamResponse, pictures: asyncio.Queue[Picture]) -> None:
    """Send pictures until the viewer disconnects. Raises asyncio.TimeoutError if it does not read fast enough."""
    await response.write(f"--{_BOUNDARY}\r\n".encode())
    while request.transport is not None and not request.transport.is_closing():
        try:
            picture = await asyncio.wait_for(pictures.get(), _POLL_S)
        except asyncio.TimeoutError:
            continue
        head = f"Content-Type: image/jpeg\r\nContent-Length: {len(picture.jpeg)}\r\n\r\n".encode()
        # The boundary follows at once: browsers show a part when they have read the next boundary.
        part = head + picture.jpeg + f"\r\n--{_BOUNDARY}\r\n".encode()
        await asyncio.wait_for(response.write(part), _SEND_TIMEOUT_S)
