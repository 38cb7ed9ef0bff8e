"""The page's server: an event loop on a thread of its own, which only ever reads what the daemon tells it.

Not here: who may look (access.py), how frames become pictures (live.py), the page (static/).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from edge_app.config.services import WebConfig
from edge_app.errors import ConfigError
from edge_app.frame import Event, Frame, JsonValue
from edge_app.messages import Labels, event_fields
from edge_app.rules import Overlay
from edge_app.web import metrics
from edge_app.web.access import SESSION_S, Access, TooManyAttempts
from edge_app.web.connection_limiter import ConnectionLimiter
from edge_app.web.live import Live

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_LOG = logging.getLogger(__name__)
_STATIC = Path(__file__).with_name("static")
_FILES = {
    "/": ("index.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
_COOKIE = "edge_app_session"
_BODY_BYTES = 4096
_REQUEST_S = 5.0
_START_S = 10.0
_STATE_S = 0.5  # for so long a state is good for all who ask
_HERE = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "edge-app",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """What the page shows, asked for by its thread.

    snapshots: ids of the events that have a picture; snapshot: the JPEG of one, by its id.
    """

    labels: Labels
    state: Callable[[], Mapping[str, JsonValue]]
    events: Callable[[], Sequence[Event]]
    snapshots: Callable[[], Collection[str]]
    snapshot: Callable[[str], bytes | None]


class Page:
    """The running page. Raises ConfigError where its libraries are missing, its token or its address cannot be had."""

    def __init__(self, settings: WebConfig, subject: Subject) -> None:
        try:
            import aiohttp.web
            import prometheus_client  # noqa: F401  (used by metrics.py, and missed here rather than there)
        except ImportError as exc:
            raise ConfigError(f"web needs the library {exc.name}; expected: pip install 'edge-app[web]'") from exc
        self._web = aiohttp.web
        self._settings = settings
        self._subject = subject
        token = None if settings.token is None else settings.token.read()
        if token is not None and len(token) < 8:
            raise ConfigError(f"web.token: {settings.token} holds fewer than 8 characters; expected a long random one")
        self._access = Access(token, time.monotonic)
        self._live = Live(subject.labels, settings)
        self._files = {path: ((_STATIC / name).read_bytes(), type_) for path, (name, type_) in _FILES.items()}
        self._state: tuple[float, Mapping[str, Any]] = (float("-inf"), {})
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._encoding: asyncio.Task[None] | None = None  # a loop alone keeps no hold of its tasks
        started: Future[int] = Future()
        self._thread = Thread(target=self._run, args=(started,), name="web", daemon=True)
        self._thread.start()
        try:
            self.port = started.result(_START_S)
        except OSError as exc:
            self._thread.join()
            where = f"{settings.host}:{settings.port}"
            raise ConfigError(f"web: {where} cannot be listened on: {exc.strerror or exc}") from exc
        _LOG.info("the page is at http://%s:%d/", settings.host, self.port)

    def offer(self, frame: Frame, overlay: Callable[[], Iterable[Overlay]]) -> None:
        """Show a frame to those who look; costs nothing where nobody does."""
        self._live.offer(frame, overlay)

    def close(self, timeout_s: float = 1.0) -> None:
        """Let everybody go. Safe to call twice."""
        if self._thread.is_alive() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_s)

    # The page's thread.

    def _run(self, started: Future[int]) -> None:
        try:
            self._loop.run_until_complete(self._serve(started))
        except Exception as exc:  # noqa: BLE001  (handed to the daemon's thread, or logged)
            if started.done():
                _LOG.exception("the page has ended")
            else:
                started.set_exception(exc)
        finally:
            self._loop.close()

    async def _serve(self, started: Future[int]) -> None:
        self._stop = asyncio.Event()
        runner = self._web.AppRunner(self._application(), access_log=None, handle_signals=False, lingering_time=1.0)
        await runner.setup()
        assert runner.server is not None
        door = ConnectionLimiter(runner.server)
        self._encoding = self._loop.create_task(self._live.encode_on(self._loop))
        try:
            server = await self._loop.create_server(door, self._settings.host, self._settings.port, backlog=32)
            started.set_result(server.sockets[0].getsockname()[1])
            await self._stop.wait()
            server.close()
        finally:
            for visitor in list(door.opened):
                visitor.abort()
            await _end_tasks()  # aiohttp's, one a connection, it would wait for
            await runner.cleanup()

    def _application(self) -> web.Application:
        @self._web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        application = self._web.Application(client_max_size=_BODY_BYTES, middlewares=[guard])
        for path in self._files:
            application.router.add_get(path, self._file)
        application.router.add_get("/healthz", self._healthz)
        application.router.add_get("/metrics", self._metrics)
        application.router.add_post("/api/login", self._login)
        application.router.add_post("/api/logout", self._logout)
        application.router.add_get("/api/status", self._status)
        application.router.add_get("/api/events", self._events)
        application.router.add_get("/api/snapshots/{event_id}", self._snapshot)
        application.router.add_get("/api/live", self._watch)
        return application

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Turn away who may not look, bound the time of all but the live view, and say what browsers must not do."""
        try:
            self._admit(request)
            limit_s = None if request.path == "/api/live" else _REQUEST_S
            response = await asyncio.wait_for(handler(request), limit_s)
        except self._web.HTTPException as exc:
            response = self._web.Response(status=exc.status, text=f"{exc.text or exc.reason}\n", headers=_retry(exc))
        except asyncio.TimeoutError:
            response = self._web.Response(status=408, text="took too long\n")
        if not response.prepared:
            response.headers.update(_HEADERS)
            response.force_close()
        return response

    def _admit(self, request: web.Request) -> None:
        """Raises HTTPException for a foreign origin, a foreign name of ours, and one who did not show the token."""
        host = request.headers.get("Host", "")
        origin = request.headers.get("Origin")
        if origin is not None and urlsplit(origin).netloc != host:
            raise self._web.HTTPForbidden(text="asked by another site")
        if self._access.open and urlsplit(f"//{host}").hostname not in _HERE:
            raise self._web.HTTPForbidden(text="asked under another name: DNS rebinding?")
        if request.path in (*self._files, "/healthz", "/api/login"):
            return
        if not self._access.open and not self._is_known(request):
            raise self._web.HTTPUnauthorized(text="expected a session, or Authorization: Bearer TOKEN")

    def _is_known(self, request: web.Request) -> bool:
        if self._access.has_session(request.cookies.get(_COOKIE, "")):
            return True
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._check(token.strip(), request)

    def _check(self, token: str, request: web.Request) -> bool:
        try:
            return self._access.check(token, request.remote or "")
        except TooManyAttempts as exc:
            raise self._web.HTTPTooManyRequests(text=str(exc), headers={"Retry-After": f"{exc.after_s:.0f}"}) from exc

    async def _login(self, request: web.Request) -> web.StreamResponse:
        token = (await request.text()).strip()
        if not self._check(token, request):
            await asyncio.sleep(0.5)
            raise self._web.HTTPUnauthorized(text="the token is not the right one")
        response = self._web.Response(text="welcome\n")
        response.set_cookie(
            _COOKIE, self._access.begin_session(), max_age=round(SESSION_S), httponly=True, samesite="Strict"
        )
        return response

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        self._access.end_session(request.cookies.get(_COOKIE, ""))
        response = self._web.Response(text="goodbye\n")
        response.del_cookie(_COOKIE)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        body, type_ = self._files[request.path]
        return self._web.Response(body=body, content_type=type_, charset="utf-8")

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        state = self._current()
        good = state["stuck"] is None and state["source"]["state"] == "running" and not state["faults"]
        return self._web.Response(status=200 if good else 503, text="ok\n" if good else "not well\n")

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        return self._web.Response(
            body=metrics.render(self._current()), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        )

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        return self._web.json_response({**self._current(), "viewers": self._live.viewers})

    async def _events(self, _request: web.Request) -> web.StreamResponse:
        taken = self._subject.snapshots()
        events = self._subject.events()
        return self._web.json_response([event_fields(e) | {"snapshot": e.event_id in taken} for e in events])

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        jpeg = self._subject.snapshot(request.match_info["event_id"])
        if jpeg is None:
            raise self._web.HTTPNotFound(text="there is no picture of this event")
        return self._web.Response(body=jpeg, content_type="image/jpeg")

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        """The live view: for each picture a text message (results, overlay), then a binary one (JPEG)."""
        if self._live.viewers >= self._settings.viewers:
            raise self._web.HTTPServiceUnavailable(text=f"{self._settings.viewers} are looking already")
        socket = self._web.WebSocketResponse(max_msg_size=1024, heartbeat=20.0)
        async with self._live.watch() as pictures:
            await socket.prepare(request)
            gone = self._loop.create_task(_until_closed(socket))
            try:
                while not gone.done():
                    with suppress(asyncio.TimeoutError):
                        picture = await asyncio.wait_for(pictures.get(), 1.0)
                        await asyncio.wait_for(_send(socket, picture.results, picture.jpeg), _REQUEST_S)
            except (ConnectionError, RuntimeError):  # it went away while we spoke
                pass
            finally:
                gone.cancel()
        return socket

    def _current(self) -> Mapping[str, Any]:
        now_s = time.monotonic()
        if now_s - self._state[0] > _STATE_S:
            self._state = now_s, self._subject.state()
        return self._state[1]


async def _end_tasks() -> None:
    """Cancel everything in this loop but the caller, and wait for its end."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _until_closed(socket: web.WebSocketResponse) -> None:
    """Listen to a viewer, who has nothing to say, until it goes."""
    async for _ in socket:
        pass


async def _send(socket: web.WebSocketResponse, results: str, jpeg: bytes) -> None:
    await socket.send_str(results)
    await socket.send_bytes(jpeg)


def _retry(exc: web.HTTPException) -> dict[str, str]:
    return {name: exc.headers[name] for name in ("Retry-After", "Allow") if name in exc.headers}
