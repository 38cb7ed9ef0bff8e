"""Several cameras behind one page: `?camera=NAME` chooses whose data a path shows. Without it, the first camera's.

Not here: what each path shows (handlers.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

PARAMETER = "camera"


def by_name(handlers: Mapping[str, Mapping[str, Handler]]) -> dict[str, Handler]:
    """The handler of each path, from those of each camera. The first camera is the default."""
    first = next(iter(handlers.values()))
    if len(handlers) == 1:
        return dict(first)
    return {path: _chosen({name: each[path] for name, each in handlers.items()}) for path in first}


def _chosen(handlers: Mapping[str, Handler]) -> Handler:
    default = next(iter(handlers))

    async def serve(request: web.Request) -> web.StreamResponse:
        from aiohttp.web import HTTPNotFound

        handler = handlers.get(request.query.get(PARAMETER, default))
        if handler is None:
            raise HTTPNotFound(text=f"found no such camera; expected one of: {', '.join(handlers)}")
        return await handler(request)

    return serve
