"""The HTTP server of the web page: an event loop on its own thread, with read-only access to the daemon's state.

Not here: access control (access.py), encoding of frames (live.py), the page itself (static/).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from http.cookies import CookieError
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from edge_app.config.services import WebConfig
from edge_app.errors import ConfigError, foreign_text
from edge_app.frame import Event, Frame, JsonValue
from edge_app.messages import Labels, event_fields
from edge_app.options.name_lookup import look_up
from edge_app.rules import Overlay
from edge_app.web import metrics, viewer
from edge_app.web.access import SESSION_S, Access, TooManyAttempts
from edge_app.web.connection_limiter import ConnectionLimiter, LimitedProtocol
from edge_app.web.live import LiveView
from edge_app.web.request_log import log_loop_error, request_log

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
_MAX_BODY_BYTES = 4096
_REQUEST_TIMEOUT_S = 5.0  # of a handler
_BACKLOG = 128
_LAST_CLOSES_S = 0.05
_START_TIMEOUT_S = 10.0
_LOOKUP_TIMEOUT_S = 5.0
_STATUS_MAX_AGE_S = 0.5  # of the cached status, which all clients share
_WRONG_TOKEN_DELAY_S = 0.5
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' blob:; frame-ancestors 'none'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Server": "edge-app",
}


@dataclass(frozen=True, slots=True)
class PageData:
    """The data that the page shows. The server's thread calls these functions.

    labels: of each head. snapshot_ids: ids of the events that have a snapshot. snapshot: the JPEG of an event, by its
    id, or None.
    """

    labels: Labels
    status: Callable[[], Mapping[str, JsonValue]]
    events: Callable[[], Sequence[Event]]
    snapshot_ids: Callable[[], Collection[str]]
    snapshot: Callable[[str], bytes | None]


class PageServer:
    """The running server. port: the port it listens on.

    Raises ConfigError if a library is missing, the token is unusable or the address cannot be bound.
    """

    def __init__(self, settings: WebConfig, data: PageData) -> None:
        try:
            import aiohttp.web
            import prometheus_client  # noqa: F401  (metrics.py needs it: report it here if it is missing)
        except ImportError as exc:
            raise ConfigError(f"web needs the library {exc.name}; expected: pip install 'edge-app[web]'") from exc
        self._web = aiohttp.web
        self._settings = settings
        self._data = data
        self._access = Access(settings.read_token(), time.monotonic)
        self._live = LiveView(data.labels, settings)
        self._files = {path: ((_STATIC / name).read_bytes(), type_) for path, (name, type_) in _FILES.items()}
        self._cached_status: tuple[float, Mapping[str, Any]] = (float("-inf"), {})
        self._hosts = self._look_up()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(log_loop_error)
        self._stop: asyncio.Event | None = None
        self._encoding: asyncio.Task[None] | None = None  # the loop holds only weak references to its tasks
        started: Future[int] = Future()
        self._thread = Thread(target=self._run, args=(started,), name="web", daemon=True)
        self._thread.start()
        try:
            self.port = started.result(_START_TIMEOUT_S)
        except (OSError, concurrent.futures.TimeoutError) as exc:  # the latter is no OSError before Python 3.11
            self._thread.join(1.0)
            where = f"{settings.host}:{settings.port}"
            raise ConfigError(f"web: cannot listen on {where}: {getattr(exc, 'strerror', None) or exc}") from exc
        _LOG.info("web page: http://%s:%d/", settings.host, self.port)

    def submit(self, frame: Frame, overlay: Callable[[], Iterable[Overlay]]) -> None:
        """Show a frame to the viewers. Costs next to nothing if there are none."""
        self._live.submit(frame, overlay)

    def close(self, timeout_s: float = 1.0) -> None:
        """Close all connections and stop. Safe to call twice."""
        if self._thread.is_alive() and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(timeout_s)

    def _look_up(self) -> list[str]:
        """The addresses to listen on. asyncio's own lookup has no time limit."""
        host, port = self._settings.host, self._settings.port
        if ":" in host:  # an IPv6 address, perhaps with its interface
            return [host]
        try:
            return list(dict.fromkeys(address.sockaddr[0] for address in look_up(host, port, _LOOKUP_TIMEOUT_S)))
        except OSError as exc:
            raise ConfigError(f"web: cannot listen on {host}:{port}: {exc.strerror or exc}") from exc

    # Below: on the server's thread.

    def _run(self, started: Future[int]) -> None:
        try:
            self._loop.run_until_complete(self._serve(started))
        except Exception as exc:  # noqa: BLE001  (passed to the daemon's thread, or logged)
            if started.done():
                _LOG.exception("web page: the server failed")
            else:
                started.set_exception(exc)
        finally:
            self._loop.close()

    async def _serve(self, started: Future[int]) -> None:
        self._stop = asyncio.Event()
        runner = self._web.AppRunner(
            self._application(),
            access_log=None,
            handle_signals=False,
            lingering_time=1.0,
            auto_decompress=False,  # no request has a reason to be compressed
            logger=request_log(),
        )
        await runner.setup()
        assert runner.server is not None
        limiter = ConnectionLimiter(runner.server)
        self._encoding = self._loop.create_task(self._live.encode(self._loop))
        try:
            server = await self._loop.create_server(limiter, self._hosts, self._settings.port, backlog=_BACKLOG)
            started.set_result(server.sockets[0].getsockname()[1])
            await self._stop.wait()
            for listening in server.sockets:
                self._loop.remove_reader(listening)  # no further accepts
            await _finish_accepts()  # before `close`: a closed server has no place for them, and leaks their sockets
            server.close()
        finally:
            for connection in list(limiter.open):
                connection.abort()
            await _cancel_tasks()  # else aiohttp waits for its tasks, one per connection
            await runner.cleanup()
            await asyncio.sleep(_LAST_CLOSES_S)  # asyncio closes sockets in a later iteration

    def _application(self) -> web.Application:
        @self._web.middleware
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._guard(request, handler)

        application = self._web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[guard])
        get: dict[str, Handler] = dict.fromkeys(self._files, self._file)
        get |= {"/healthz": self._healthz, "/metrics": self._metrics, "/api/status": self._status}
        get |= {"/api/events": self._events, "/api/snapshots/{event_id}": self._snapshot, "/api/live": self._live_view}
        post: dict[str, Handler] = {"/api/login": self._login, "/api/logout": self._logout}
        router = application.router
        for methods, handlers in ((("GET", "HEAD"), get), (("POST",), post)):
            for path, handler in handlers.items():
                for method in methods:
                    router.add_route(method, path, handler, expect_handler=self._expect)
                router.add_route("*", path, partial(self._wrong_method, methods), expect_handler=self._expect)
        router.add_route("*", "/{path:.*}", self._not_found, expect_handler=self._expect)
        return application

    async def _expect(self, request: web.Request) -> None:
        """Answer an Expect header. aiohttp's own handler quotes it, and fails if it cannot be encoded."""
        if request.headers["Expect"].lower() != "100-continue":
            raise self._web.HTTPExpectationFailed(text="expected 100-continue")
        if request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _wrong_method(self, allowed: Collection[str], request: web.Request) -> web.Response:
        raise self._web.HTTPMethodNotAllowed(request.method, allowed)

    async def _not_found(self, _request: web.Request) -> web.Response:
        raise self._web.HTTPNotFound

    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check access, limit the time of all requests but the live view, and set the security headers."""
        try:
            self._admit(request)
            limit_s = None if request.path == "/api/live" else _REQUEST_TIMEOUT_S
            response = await asyncio.wait_for(handler(request), limit_s)
        except self._web.HTTPException as exc:
            response = self._web.Response(status=exc.status, text=f"{exc.text or exc.reason}\n", headers=_retry(exc))
        except asyncio.TimeoutError:
            response = self._web.Response(status=408, text="request timed out\n")
        if not response.prepared:
            response.headers.update(_HEADERS)
            response.force_close()
        return response

    def _admit(self, request: web.Request) -> None:
        """Raise HTTPException for malformed headers, a foreign Origin or Host, or a missing token.

        Without a token, a Host is foreign unless it is this machine's.
        """
        connection = _connection(request)
        connection.start_request()
        try:
            host = request.headers.get("Host", "")
            host_name = urlsplit(f"//{host}").hostname
            origin = request.headers.get("Origin")
            foreign = origin is not None and urlsplit(origin).netloc != host
            session = request.cookies.get(_COOKIE, "")
        except (ValueError, CookieError) as exc:
            _LOG.warning("%s: malformed request header (%s)", connection.address, foreign_text(exc))
            raise self._web.HTTPBadRequest(text="malformed Host, Origin or Cookie header") from exc
        if foreign:
            raise self._web.HTTPForbidden(text="cross-origin request")
        if self._access.open and host_name not in _LOCAL_NAMES:
            raise self._web.HTTPForbidden(text="unexpected Host header; expected localhost")
        if self._access.open or request.path in (*self._files, "/healthz", "/api/login"):
            return
        if not self._access.has_session(session) and not self._has_token(request):
            raise self._web.HTTPUnauthorized(text="expected a session, or Authorization: Bearer TOKEN")
        connection.authorized = True

    def _has_token(self, request: web.Request) -> bool:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        return scheme.lower() == "bearer" and self._check(token.encode("utf-8", "surrogateescape"), request)

    def _check(self, token: bytes, request: web.Request) -> bool:
        address = _connection(request).address
        try:
            correct = self._access.check(token.strip(), address)
        except TooManyAttempts as exc:
            raise self._web.HTTPTooManyRequests(text=str(exc), headers={"Retry-After": f"{exc.after_s:.0f}"}) from exc
        if not correct:
            _LOG.warning("%s: wrong token", address)
        return correct

    async def _login(self, request: web.Request) -> web.StreamResponse:
        try:
            token = await request.read()
        except self._web.RequestPayloadError as exc:
            raise self._web.HTTPBadRequest(text="malformed body") from exc
        if not self._check(token, request):
            await asyncio.sleep(_WRONG_TOKEN_DELAY_S)
            raise self._web.HTTPUnauthorized(text="wrong token")
        response = self._web.Response(text="logged in\n")
        response.set_cookie(
            _COOKIE, self._access.begin_session(), max_age=round(SESSION_S), httponly=True, samesite="Strict"
        )
        return response

    async def _logout(self, request: web.Request) -> web.StreamResponse:
        self._access.end_session(request.cookies.get(_COOKIE, ""))
        response = self._web.Response(text="logged out\n")
        response.del_cookie(_COOKIE)
        return response

    async def _file(self, request: web.Request) -> web.StreamResponse:
        body, type_ = self._files[request.path]
        return self._web.Response(body=body, content_type=type_, charset="utf-8")

    async def _healthz(self, _request: web.Request) -> web.StreamResponse:
        state = self._current_status()
        healthy = state["stuck"] is None and state["source"]["state"] == "running" and not state["faults"]
        return self._web.Response(status=200 if healthy else 503, text="ok\n" if healthy else "unhealthy\n")

    async def _metrics(self, _request: web.Request) -> web.StreamResponse:
        headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
        return self._web.Response(body=metrics.render(self._current_status()), headers=headers)

    async def _status(self, _request: web.Request) -> web.StreamResponse:
        return self._web.json_response({**self._current_status(), "viewers": self._live.viewers})

    async def _events(self, _request: web.Request) -> web.StreamResponse:
        snapshot_ids = self._data.snapshot_ids()
        events = self._data.events()
        return self._web.json_response([event_fields(e) | {"snapshot": e.event_id in snapshot_ids} for e in events])

    async def _snapshot(self, request: web.Request) -> web.StreamResponse:
        jpeg = self._data.snapshot(request.match_info["event_id"])
        if jpeg is None:
            raise self._web.HTTPNotFound(text="no snapshot of this event")
        return self._web.Response(body=jpeg, content_type="image/jpeg")

    async def _live_view(self, request: web.Request) -> web.StreamResponse:
        """The live view: for each image a text message (results, overlay), then a binary one (JPEG)."""
        if self._live.viewers >= self._settings.viewers:
            raise self._web.HTTPServiceUnavailable(text=f"the limit of {self._settings.viewers} viewers is reached")
        return await viewer.serve(request, _connection(request), self._live)

    def _current_status(self) -> Mapping[str, Any]:
        now_s = time.monotonic()
        if now_s - self._cached_status[0] > _STATUS_MAX_AGE_S:
            self._cached_status = now_s, self._data.status()
        return self._cached_status[1]


async def _finish_accepts() -> None:
    """Wait until asyncio has handed all accepted sockets to protocols: a cancelled task would leak its socket."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    accepting = [task for task in tasks if "_accept_connection" in getattr(task.get_coro(), "__qualname__", "")]
    if accepting:
        await asyncio.wait(accepting)  # some iterations of the event loop


async def _cancel_tasks() -> None:
    """Cancel all tasks of this loop except the caller, and wait until they have ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _connection(request: web.Request) -> LimitedProtocol:
    """The connection of a request. Raises ConnectionResetError if the client has disconnected."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    return cast(LimitedProtocol, transport.get_protocol())


def _retry(exc: web.HTTPException) -> dict[str, str]:
    return {name: exc.headers[name] for name in ("Retry-After", "Allow") if name in exc.headers}
