"""Admission of requests: Host and Origin, token or session, a time limit, and the security headers of responses.

Not here: checking a token and keeping sessions (access.py), what a path shows (handlers.py).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections.abc import Collection
from http.cookies import CookieError
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from edge_app.config.services import WebConfig
from edge_app.errors import foreign_text
from edge_app.web.access import SESSION_S, Access, TooManyAttempts
from edge_app.web.connection_limiter import LimitedProtocol

if TYPE_CHECKING:
    from aiohttp import web
    from aiohttp.typedefs import Handler

_LOG = logging.getLogger(__name__)
_COOKIE = "edge_app_session"
_REQUEST_TIMEOUT_S = 5.0  # of a handler
_WRONG_TOKEN_DELAY_S = 0.5
_LOCAL_NAMES = ("localhost", "127.0.0.1", "::1")
_SECRET_PARAMETERS = ("token", "access_token", "auth", "password")
IMAGES = ("/snapshot.jpg", "/stream.mjpg")  # for dashboards: these also take the token as a Basic password
STREAMS = ("/api/live", "/stream.mjpg")  # without a time limit


class RequestGuard:
    """Admits requests. public: paths that need no token, such as the page with its login form."""

    def __init__(self, settings: WebConfig, access: Access, public: Collection[str]) -> None:
        self._access = access
        self._base = settings.base_path
        self._hosts = {name.lower() for name in settings.allowed_hosts}
        self._public = frozenset((*public, *filter(None, [self._base]), "/healthz", "/api/login"))
        self._framed = bool(settings.frame_ancestors)
        self._headers = _security_headers(settings.frame_ancestors)

    @property
    def open(self) -> bool:
        """Whether no token is needed."""
        return self._access.open

    def path(self, request: web.Request) -> str:
        """The path of a request without `web.base_path`: a reverse proxy may keep it or remove it."""
        return request.path.removeprefix(self._base) if request.path.startswith(f"{self._base}/") else request.path

    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check access, limit the time of all requests but streams, and set the security headers."""
        from aiohttp.web import HTTPException, Response

        response: web.StreamResponse
        try:
            self._admit(request)
            limit_s = None if self.path(request) in STREAMS else _REQUEST_TIMEOUT_S
            response = await asyncio.wait_for(handler(request), limit_s)
        except HTTPException as exc:
            response = Response(status=exc.status, text=f"{exc.text or exc.reason}\n", headers=_kept_headers(exc))
        except asyncio.TimeoutError:
            response = Response(status=408, text="request timed out\n")
        if not response.prepared:
            self.secure(response)
            response.force_close()
        return response

    def secure(self, response: web.StreamResponse) -> None:
        """Set the security headers of a response that is not yet sent."""
        response.headers.update(self._headers)

    def has_session(self, request: web.Request) -> bool:
        """Whether a browser that has logged in sent the request."""
        return self._access.has_session(request.cookies.get(_COOKIE, ""))

    async def login(self, request: web.Request) -> web.StreamResponse:
        from aiohttp.web import HTTPBadRequest, HTTPUnauthorized, RequestPayloadError, Response

        try:
            token = await request.read()
        except RequestPayloadError as exc:
            raise HTTPBadRequest(text="malformed body") from exc
        if not self._check(token, request):
            await asyncio.sleep(_WRONG_TOKEN_DELAY_S)
            raise HTTPUnauthorized(text="wrong token")
        response = Response(text="logged in\n")
        # A browser sends a Strict cookie to no frame of another site, and a cookie that is not Strict only by HTTPS.
        foreign_frames = self._framed and request.headers.get("X-Forwarded-Proto", "").lower() == "https"
        response.set_cookie(
            _COOKIE,
            self._access.begin_session(),
            max_age=round(SESSION_S),
            path=self._base or "/",
            httponly=True,
            secure=foreign_frames,
            samesite="None" if foreign_frames else "Strict",
        )
        return response

    async def logout(self, request: web.Request) -> web.StreamResponse:
        from aiohttp.web import Response

        self._access.end_session(request.cookies.get(_COOKIE, ""))
        response = Response(text="logged out\n")
        response.del_cookie(_COOKIE, path=self._base or "/")
        return response

    def _admit(self, request: web.Request) -> None:
        """Raise HTTPException for malformed headers, a foreign Origin or Host, a token in the URL, or no token."""
        from aiohttp.web import HTTPBadRequest, HTTPUnauthorized

        connection = connection_of(request)
        connection.start_request()
        self._check_names(request, connection)
        if any(name in request.query for name in _SECRET_PARAMETERS):
            raise HTTPBadRequest(
                text="found a token in the URL, where others log it; expected Authorization: Bearer TOKEN"
            )
        path = self.path(request)
        if self._access.open or path in self._public:
            return
        if not self.has_session(request) and not self._has_token(request, path):
            challenge = {"WWW-Authenticate": 'Basic realm="edge_app", charset="UTF-8"'} if path in IMAGES else {}
            raise HTTPUnauthorized(text="expected a session, or Authorization: Bearer TOKEN", headers=challenge)
        connection.authorized = True

    def _check_names(self, request: web.Request, connection: LimitedProtocol) -> None:
        """Raise HTTPException if Host or Origin are not this server's.

        Without a token, and with `web.allowed_hosts`, a Host is foreign unless it is this machine's or allowed.
        """
        from aiohttp.web import HTTPBadRequest, HTTPForbidden

        try:
            host = request.headers.get("Host", "")
            host_name = urlsplit(f"//{host}").hostname
            origin = request.headers.get("Origin")
            origin_parts = None if origin is None else urlsplit(origin)
            foreign = origin_parts is not None and origin_parts.netloc != host
            allowed = foreign and origin_parts is not None and origin_parts.hostname in self._hosts
            _ = request.cookies  # parsed here, so that a malformed one is reported
        except (ValueError, CookieError) as exc:
            _LOG.warning("%s: malformed request header (%s)", connection.address, foreign_text(exc))
            raise HTTPBadRequest(text="malformed Host, Origin or Cookie header") from exc
        if foreign and not allowed:
            raise HTTPForbidden(text="cross-origin request")
        if (self._access.open or self._hosts) and host_name not in (*_LOCAL_NAMES, *self._hosts):
            expected = ", ".join(("localhost", *sorted(self._hosts)))
            raise HTTPForbidden(text=f"unexpected Host header; expected {expected} (web.allowed_hosts)")

    def _has_token(self, request: web.Request, path: str) -> bool:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        token = value.encode("utf-8", "surrogateescape")
        if scheme.lower() == "basic" and path in IMAGES:
            try:
                token = base64.b64decode(token, validate=True).partition(b":")[2]
            except (ValueError, binascii.Error):
                return False
            return self._check(token, request)
        return scheme.lower() == "bearer" and self._check(token, request)

    def _check(self, token: bytes, request: web.Request) -> bool:
        from aiohttp.web import HTTPTooManyRequests

        address = connection_of(request).address
        try:
            correct = self._access.check(token.strip(), address)
        except TooManyAttempts as exc:
            raise HTTPTooManyRequests(text=str(exc), headers={"Retry-After": f"{exc.after_s:.0f}"}) from exc
        if not correct:
            _LOG.warning("%s: wrong token", address)
        return correct


def connection_of(request: web.Request) -> LimitedProtocol:
    """The connection of a request. Raises ConnectionResetError if the client has disconnected."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    return cast(LimitedProtocol, transport.get_protocol())


def _security_headers(frame_ancestors: Collection[str]) -> dict[str, str]:
    ancestors = " ".join("'self'" if name == "self" else name for name in frame_ancestors) or "'none'"
    policy = f"default-src 'self'; img-src 'self' blob:; frame-ancestors {ancestors}; base-uri 'none'"
    headers = {
        "Content-Security-Policy": policy,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "Server": "edge-app",
    }
    return headers if frame_ancestors else {**headers, "Cross-Origin-Resource-Policy": "same-origin"}


def _kept_headers(exc: web.HTTPException) -> dict[str, str]:
    names = ("Retry-After", "Allow", "WWW-Authenticate", "Location")
    return {name: exc.headers[name] for name in names if name in exc.headers}
