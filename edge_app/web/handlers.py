"""What each path of the page shows: files, status, events, snapshots, totals by hour, and the live images.

Not here: admission (guard.py), encoding of frames (live.py), the page itself (static/).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge_app.config.services import WebConfig
from edge_app.errors import foreign_text
from edge_app.messages import event_fields
from edge_app.web import clips, metrics, mjpeg, viewer
from edge_app.web.data import Hours, PageData
from edge_app.web.guard import RequestGuard, connection_of
from edge_app.web.live import LiveView

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_LOG = logging.getLogger(__name__)
_STATIC = Path(__file__).with_name("static")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css"}
_STATUS_MAX_AGE_S = 0.5  # of the cached status, which all clients share
_HOURS_MAX_AGE_S = 20.0  # of the cached totals by hour
_FRAME_TIMEOUT_S = 4.0  # for the next frame of /snapshot.jpg


def static_files() -> dict[str, tuple[bytes, str]]:
    """Path -> content and type of every file of the page."""
    files = {f"/{file.name}": (file.read_bytes(), _TYPES[file.suffix]) for file in sorted(_STATIC.iterdir())}
    return {"/": files.pop("/index.html"), **files}


class Handlers:
    """The handlers of the read-only paths. files: the content of `static_files`."""

    def __init__(
        self,
        settings: WebConfig,
        data: PageData,
        live: LiveView,
        guard: RequestGuard,
        files: Mapping[str, tuple[bytes, str]],
    ) -> None:
        self._settings, self._data, self._live, self._guard, self._files = settings, data, live, guard, files
        self._cached_status: tuple[float, Mapping[str, Any]] = (float("-inf"), {})
        self._cached_hours: tuple[float, Hours] = (float("-inf"), ())

    def get(self) -> dict[str, Handler]:
        """The handler of each path, for GET and HEAD."""
        return {
            **dict.fromkeys(self._files, self._file),
            "/healthz": self._healthz,
            "/metrics": self._metrics,
            "/api/status": self._status,
            "/api/events": self._events,
            "/api/totals": self._totals,
            "/api/snapshots/{event_id}": self._snapshot,
            "/api/clips/{name}": clips.handler(self._data.clip),
            "/api/live": self._live_view,
            "/snapshot.jpg": self._current_image,
            "/stream.mjpg": self._stream,
        }

    async def _file(self, request: web.Request) -> web.StreamResponse:
        from aiohttp.web import Response

        body, type_ = self._files[self._guard.path(request)]
        return Response(body=body, content_type=type_, charset="utf-8")

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        from aiohttp.web import Response

        state = self._current_status()
        cameras = state.get("cameras", {"": state}).values()
        works = all(each["source"]["state"] == "running" and not each["faults"] for each in cameras)
        healthy = state["stuck"] is None and works
        return Response(status=200 if healthy else 503, text="ok\n" if healthy else "unhealthy\n")

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        from aiohttp.web import Response

        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return Response(body=metrics.render(self._current_status(), self._data.counts()), headers=headers)

    async def _status(self, request: web.Request) -> web.StreamResponse:
        from aiohttp.web import json_response

        about = {
            "viewers": self._live.viewers,
            "session": self._guard.has_session(request),
            "snapshot_what": self._data.snapshot_what,
        }
        return json_response({**self._current_status(), **about})

    async def _events(self, _request: web.Request) -> web.StreamResponse:
        from aiohttp.web import json_response

        events = self._data.events()
        snapshot_ids, clip_names = self._data.snapshot_ids(), self._data.clip_names()
        return json_response(
            [
                event_fields(e) | {"snapshot": e.event_id in snapshot_ids, "clip": clip_names.get(e.event_id)}
                for e in events
            ]
        )

    async def _totals(self, _request: web.Request) -> web.StreamResponse:
        """The counts of finished hours: {rule: {count: [[start, number], …]}}. The status has those of this hour."""
        from aiohttp.web import json_response

        now_s = time.monotonic()
        if now_s - self._cached_hours[0] > _HOURS_MAX_AGE_S:
            try:
                hours = self._data.hours()
            except OSError as exc:
                _LOG.warning("web page: totals by hour: %s", foreign_text(str(exc)))
                hours = ()
            self._cached_hours = now_s, hours
        rules: dict[str, dict[str, list[tuple[int, int]]]] = {}
        for rule, count, start_s, number in self._cached_hours[1]:
            rules.setdefault(rule, {}).setdefault(count, []).append((start_s, number))
        return json_response(rules)

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        from aiohttp.web import HTTPNotFound, Response

        jpeg = self._data.snapshot(request.match_info["event_id"])
        if jpeg is None:
            raise HTTPNotFound(text="no snapshot of this event")
        return Response(body=jpeg, content_type="image/jpeg")

    async def _live_view(self, request: web.Request) -> web.StreamResponse:
        """The live view: for each image a text message (results, overlay), then a binary one (JPEG)."""
        self._check_viewers()
        return await viewer.serve(request, connection_of(request), self._live)

    async def _current_image(self, request: web.Request) -> web.StreamResponse:
        """The next image, as JPEG. `?boxes=1` draws the results into it."""
        from aiohttp.web import HTTPServiceUnavailable, Response

        self._check_viewers()
        if request.method == "HEAD":
            return Response(content_type="image/jpeg")
        async with self._live.subscribe(boxes="boxes" in request.query) as pictures:
            try:
                picture = await asyncio.wait_for(pictures.get(), _FRAME_TIMEOUT_S)
            except asyncio.TimeoutError as exc:
                raise HTTPServiceUnavailable(text="the camera delivers no images") from exc
        return Response(body=picture.jpeg, content_type="image/jpeg")

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """The live images as motion JPEG. `?boxes=1` draws the results into them."""
        self._check_viewers()
        pictures = self._live.subscribe(boxes="boxes" in request.query)
        return await mjpeg.serve(request, connection_of(request), pictures, self._guard.secure)

    def _check_viewers(self) -> None:
        from aiohttp.web import HTTPServiceUnavailable

        if self._live.viewers >= self._settings.viewers:
            raise HTTPServiceUnavailable(text=f"the limit of {self._settings.viewers} viewers is reached")

    def _current_status(self) -> Mapping[str, Any]:
        now_s = time.monotonic()
        if now_s - self._cached_status[0] > _STATUS_MAX_AGE_S:
            self._cached_status = now_s, self._data.status()
        return self._cached_status[1]
