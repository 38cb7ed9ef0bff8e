"""`GET /api/clips/<name>`: the video of an event clip. Not here: recording clips (clips/), access (guard.py)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_TYPES = {".mp4": "video/mp4", ".webm": "video/webm"}  # of clips/encoders.py


def handler(clip: Callable[[str], Path | None]) -> Handler:
    """The handler of the path. clip: the file of a clip, by its name; None if it does not exist or was deleted.

    A range of bytes may be requested, as players do to seek.
    """

    async def serve(request: web.Request) -> web.StreamResponse:
        from aiohttp.web import FileResponse, HTTPNotFound, HTTPRequestRangeNotSatisfiable

        path = clip(request.match_info["name"])
        if path is None or not path.is_file():
            raise HTTPNotFound(text="no clip of this name")
        if not _is_satisfiable(request, path.stat().st_size):
            raise HTTPRequestRangeNotSatisfiable
        return FileResponse(path, headers={"Content-Type": _TYPES[path.suffix]})

    return serve


def _is_satisfiable(request: web.Request, size: int) -> bool:
    """Whether the requested range has any bytes. aiohttp 3.8 may leave the file open if it has none."""
    try:
        start, stop, _ = request.http_range.indices(size)
    except ValueError:
        return False
    return start < stop and not request.headers.get("Range", "").endswith("=-0")
