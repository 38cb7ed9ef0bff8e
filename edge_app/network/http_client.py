"""Requests to one HTTP server over a connection that stays open. Each request has one deadline and a limit of bytes.

Proxy settings of the environment are ignored. Not here: redirects and authentication.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult

from edge_app.network.connection import BoundedSocket, Deadline, connect


class HttpClient:
    """Sends requests to the server of an address. tls: for https; None for http."""

    def __init__(self, url: SplitResult, tls: ssl.SSLContext | None) -> None:
        self.address = (url.hostname or "", url.port or (80 if tls is None else 443))
        self._tls = tls
        self._connection: http.client.HTTPConnection | None = None
        self._socket: BoundedSocket | None = None
        self._response: http.client.HTTPResponse | None = None

    @property
    def where(self) -> str:
        """host:port, for messages."""
        return f"{self.address[0]}:{self.address[1]}"

    @property
    def is_open(self) -> bool:
        """Whether the next request uses the connection of the last one; the server may have closed it."""
        return self._connection is not None and self._connection.sock is not None

    def request(
        self, target: str, headers: Mapping[str, str], deadline: Deadline, max_bytes: int, *, body: bytes | None = None
    ) -> http.client.HTTPResponse:
        """Send GET, or POST with a body, and read the response's header. The limits hold until `extend` sets others.

        max_bytes: of header, interim responses and body together. Closes the connection and raises OSError,
        HTTPException or ValueError on failure; their messages may quote secrets.
        """
        try:
            connection = self._connect(deadline)
            self.extend(deadline, max_bytes)
            connection.request("GET" if body is None else "POST", target, body, dict(headers))
            self._response = connection.getresponse()
            return self._response
        except (OSError, http.client.HTTPException, ValueError):
            self.close()
            raise

    def extend(self, deadline: Deadline, max_bytes: int) -> None:
        """Set new limits for what is read from now on."""
        if self._socket is not None:
            self._socket.begin(deadline, max_bytes)

    def has_data(self) -> bool:
        """Whether received bytes wait to be read."""
        return self._socket is not None and self._socket.has_data()

    def close(self) -> None:
        for each in (self._connection, self._response):  # a response keeps its socket open
            if each is not None:
                each.close()
        self._connection = self._socket = self._response = None

    def _connect(self, deadline: Deadline) -> http.client.HTTPConnection:
        if self._connection is None or self._connection.sock is None:
            self.close()
            self._socket = BoundedSocket(connect(*self.address, deadline, self._tls))
            self._connection = (_Connection if self._tls is None else _SecureConnection)(*self.address)
            self._connection.sock = self._socket
        return self._connection


class _Connection(http.client.HTTPConnection):
    """A connection whose socket is set from outside."""

    auto_open = 0
    sock: Any


class _SecureConnection(_Connection):
    default_port = http.client.HTTPS_PORT
