"""The HTTP server of the web page: an event loop on its own thread, and the routes.

Not here: admission of requests (guard.py), what each path shows (handlers.py), encoding of frames (live.py).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import logging
import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Future
from functools import partial
from threading import Thread
from typing import TYPE_CHECKING

from edge_app.config.services import WebConfig
from edge_app.errors import ConfigError
from edge_app.frame import Frame
from edge_app.options.extras import install
from edge_app.options.name_lookup import look_up
from edge_app.rules import Overlay
from edge_app.web import cameras
from edge_app.web.access import Access
from edge_app.web.commands import CommandHandlers
from edge_app.web.connection_limiter import ConnectionLimiter
from edge_app.web.data import PageData
from edge_app.web.guard import RequestGuard
from edge_app.web.handlers import Handlers, static_files
from edge_app.web.live import LiveView
from edge_app.web.request_log import log_loop_error, request_log

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_LOG = logging.getLogger(__name__)
_MAX_BODY_BYTES = 4096
_BACKLOG = 128
_LAST_CLOSES_S = 0.05
_START_TIMEOUT_S = 10.0
_LOOKUP_TIMEOUT_S = 5.0


class PageServer:
    """The running server. port: the port it listens on. data: of the camera that the page shows first.

    others: of the other cameras of this process; a path shows one of them with `?camera=NAME`.
    Raises ConfigError if a library is missing, the token is unusable or the address cannot be bound.
    """

    def __init__(self, settings: WebConfig, data: PageData, others: Collection[PageData] = ()) -> None:
        try:
            import aiohttp.web
            import prometheus_client  # noqa: F401  (metrics.py needs it: report it here if it is missing)
        except ImportError as exc:
            raise ConfigError(f"web needs the library {exc.name}; expected: {install('web')}") from exc
        self._web = aiohttp.web
        self._settings = settings
        self._cameras = [data, *others]
        self._lives = {each.camera: LiveView(each.labels, settings) for each in self._cameras}
        self._live = self._lives[data.camera]
        self._files = static_files()
        self._guard = RequestGuard(settings, Access(settings.read_token(), time.monotonic), self._files)
        self._hosts = self._look_up()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(log_loop_error)
        self._stop: asyncio.Event | None = None
        self._encoding: list[asyncio.Task[None]] = []  # the loop holds only weak references to its tasks
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
        self._lives.get(frame.source, self._live).submit(frame, overlay)

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
        self._encoding = [self._loop.create_task(live.encode(self._loop)) for live in self._lives.values()]
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
            return await self._guard.serve(request, handler)

        application = self._web.Application(client_max_size=_MAX_BODY_BYTES, middlewares=[guard])
        get, commands = self._handlers()
        post: dict[str, Handler] = {"/api/login": self._guard.login, "/api/logout": self._guard.logout}
        post.update(commands)
        router = application.router
        base = self._settings.base_path
        for methods, handlers in ((("GET", "HEAD"), get), (("POST",), post)):
            for path, handler in handlers.items():
                for full_path in {path, base + path}:  # a reverse proxy may keep the base path or remove it
                    for method in methods:
                        router.add_route(method, full_path, handler, expect_handler=self._expect)
                    wrong_method = partial(self._wrong_method, methods)
                    router.add_route("*", full_path, wrong_method, expect_handler=self._expect)
        if base:
            router.add_route("GET", base, self._to_base, expect_handler=self._expect)
        router.add_route("*", "/{path:.*}", self._not_found, expect_handler=self._expect)
        return application

    def _handlers(self) -> tuple[dict[str, Handler], dict[str, Handler]]:
        """The handler of each path, for GET and for POST."""
        get: dict[str, dict[str, Handler]] = {}
        post: dict[str, dict[str, Handler]] = {}
        for data in self._cameras:
            live = self._lives[data.camera]
            handlers = Handlers(self._settings, data, live, self._guard, self._files)
            commands = CommandHandlers(data.commands, enabled=self._settings.commands)
            get[data.camera] = {**handlers.get(), **commands.get()}
            post[data.camera] = commands.post()
        return cameras.by_name(get), cameras.by_name(post)

    async def _to_base(self, _request: web.Request) -> web.Response:
        """Redirect to the base path with its final slash: the page's addresses are relative."""
        raise self._web.HTTPPermanentRedirect(f"{self._settings.base_path}/")

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
