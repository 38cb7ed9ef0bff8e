"""Requests to a camera over HTTP: with its login, and with redirects on the same host.

A redirect is never followed from https to http. Not here: the header of a login (_http_login.py), the connection
(network/http_client.py), images.
"""

from __future__ import annotations

import ssl
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse, responses
from urllib.parse import SplitResult, quote, unquote, urldefrag, urljoin

from edge_app import __version__
from edge_app.errors import SourceError
from edge_app.network.connection import Deadline
from edge_app.network.http_client import HttpClient
from edge_app.network.tls import client_context
from edge_app.options import Url
from edge_app.sources._http_login import Login

URL = Url("http", "https")
_MAX_REQUESTS = 6  # for one response: a challenge, a new nonce, redirects
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"User-Agent": f"edge-app/{__version__}", "Accept": "multipart/x-mixed-replace, image/jpeg"}
_KEPT = "%/:=&?~+!$,;'@()*[]"  # characters of an address that are not encoded


class CameraClient:
    """Requests one address of a camera. Only one response is in use at a time.

    url: with the login. shown: the address for messages. tls: for https; None: the system's authorities, which are
    loaded when they are needed. max_bytes: of a response; `extend` sets another limit.
    """

    def __init__(self, url: SplitResult, shown: str, tls: ssl.SSLContext | None, max_bytes: int) -> None:
        self._url = url._replace(netloc=url.netloc.rpartition("@")[2])
        self._login = None if url.username is None else Login(unquote(url.username), unquote(url.password or ""))
        self._shown = shown
        self._tls = tls
        self._max_bytes = max_bytes
        self._client: HttpClient | None = None
        self._server: tuple[str, str | None, int] | None = None  # scheme, host and port of the client

    def get(self, deadline: Deadline) -> HTTPResponse:
        """The response with the status 200, after login and redirects. Its body is not read yet.

        Raises SourceError if there is none; OSError, HTTPException and ValueError as `HttpClient.request` does.
        """
        url, answered = self._url, False
        for _ in range(_MAX_REQUESTS):
            response = self._request(url, deadline)
            status = response.status
            if status == HTTPStatus.OK:
                return response
            self.close()  # instead of reading the body
            if status == HTTPStatus.UNAUTHORIZED:
                self._answer(response, answered)
                answered = True
            elif status in _REDIRECTS:
                url = self._redirected(url, response.headers.get("Location", ""))
            else:
                raise SourceError(f"{self._shown}: {_status_text(status)}; expected an image or a stream")
        raise SourceError(f"{self._shown}: found {_MAX_REQUESTS} redirects or logins; expected the final address")

    def extend(self, deadline: Deadline, max_bytes: int) -> None:
        """Set new limits for what is read of the response from now on."""
        if self._client is not None:
            self._client.extend(deadline, max_bytes)

    def has_data(self) -> bool:
        """Whether received bytes wait to be read."""
        return self._client is not None and self._client.has_data()

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _answer(self, response: HTTPResponse, answered: bool) -> None:
        """Prepare the login for the next request. Raises SourceError if it was rejected."""
        text = f"{self._shown}: {_status_text(response.status)}"
        if self._login is None:
            raise SourceError(f"{text}; expected username and password")
        if not self._login.accept(response.headers.get_all("WWW-Authenticate", [])):
            raise SourceError(f"{text}; expected a login by Basic, or by Digest with MD5 or SHA-256")
        if answered and not self._login.is_stale:
            raise SourceError(f"{text}; check the user and password")

    def _redirected(self, url: SplitResult, location: str) -> SplitResult:
        """The address of a redirect. Raises SourceError unless it is on the same host."""
        try:
            target = URL.parse(quote(urldefrag(urljoin(url.geturl(), location)).url, safe=_KEPT))
        except ValueError:
            raise SourceError(f"{self._shown}: redirects to an invalid address; expected a valid one") from None
        same_server = (target.scheme, _port(target)) == (url.scheme, _port(url))
        to_https = (url.scheme, target.scheme) == ("http", "https")
        if target.hostname != url.hostname or not (same_server or to_https):
            same_host = target.hostname == url.hostname  # the name of another one may repeat a secret
            found = f"{target.scheme}, port {_port(target)}" if same_host else "another host"
            raise SourceError(f"{self._shown}: redirects to {found}; expected the final address in url")
        return target._replace(netloc=target.netloc.rpartition("@")[2])

    def _request(self, url: SplitResult, deadline: Deadline) -> HTTPResponse:
        """Send a request on the open connection, or on a new one if the server has closed it."""
        client = self._client_of(url)
        was_open = client.is_open
        try:
            return self._send(client, url, deadline)
        except (OSError, HTTPException):
            if not was_open:
                raise
        return self._send(client, url, deadline)

    def _send(self, client: HttpClient, url: SplitResult, deadline: Deadline) -> HTTPResponse:
        target = quote((url.path or "/") + (f"?{url.query}" if url.query else ""), safe=_KEPT)
        login = None if self._login is None else self._login.authorization("GET", target)
        headers = _HEADERS if login is None else {**_HEADERS, "Authorization": login}
        return client.request(target, headers, deadline, self._max_bytes)

    def _client_of(self, url: SplitResult) -> HttpClient:
        """The client for the server of an address: a redirect may lead to its https."""
        server = url.scheme, url.hostname, _port(url)
        if self._client is None or self._server != server:
            self.close()
            if url.scheme == "https" and self._tls is None:
                self._tls = client_context(None)
            self._client, self._server = HttpClient(url, self._tls if url.scheme == "https" else None), server
        return self._client


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _status_text(status: int) -> str:
    """Without the server's own text, which may repeat a secret."""
    return f"the server answered {status} {responses.get(status, '')}".rstrip()
