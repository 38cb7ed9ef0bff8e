"""HTTP: POSTs JSON arrays of messages. A 2xx response acknowledges all messages of the request.

`Idempotency-Key` identifies the batch: it is the same if the same messages are sent again. 408, 429 and 5xx are
retried, after `Retry-After` if present. Messages that get another 4xx are refused and not sent again. Redirects are not
followed. Proxy settings of the environment are ignored.
"""

from __future__ import annotations

import hashlib
import http.client
import socket
from collections.abc import Collection, Mapping, Sequence
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from edge_app import __version__
from edge_app.clock import Clock
from edge_app.errors import ConfigError, SinkError
from edge_app.messages import Message
from edge_app.options import Positive, Range
from edge_app.options.secret import Secret
from edge_app.sinks import SinkContext, _tls

_MAX_RESPONSE_BYTES = 16 * 1024
_RETRY_STATUS = (408, 429)


class Sink:
    """batch: messages per request. token: for `Authorization: Bearer`. ca: trusted authorities; null: the system's."""

    def __init__(
        self,
        context: SinkContext,
        *,
        url: str,
        batch: Annotated[int, Range(1, 1000)] = 50,
        timeout_s: Annotated[float, Range(0.1, 300)] = 10.0,
        token: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._clock = context.clock
        self.batch_limit: Positive = batch
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as exc:
            raise ConfigError(f"url: {exc}; expected http://… or https://…") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("url: expected http://… or https://…")
        if parts.username is not None or parts.password is not None:
            raise ConfigError("url: found a user or password; expected the option token instead")
        self._secure = parts.scheme == "https"
        self._tls = _tls.client_context(ca, cert, key) if self._secure else None
        self._address = (parts.hostname, port or (443 if self._secure else 80))
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._token = token
        if token is not None:
            token.read()  # raises ConfigError now; read again for each request, because it may be replaced
        self._headers = {"Content-Type": "application/json", "User-Agent": f"edge-app/{__version__}", **(headers or {})}
        for name, value in self._headers.items():
            if not name.isascii() or any(c in name + value for c in "\r\n\0") or not value.isascii():
                raise ConfigError(f"headers.{name}: expected ASCII on one line")
        self._connection: http.client.HTTPConnection | None = None

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError; see the module's docstring for which responses are retried."""
        body = b"[" + b",".join([message.payload for message in batch]) + b"]"
        ids = [message.id for message in batch]
        key = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32] if len(ids) > 1 else ids[0]
        kept_alive = self._connection is not None
        try:
            response = self._post(body, key)
        except SinkError:
            if not kept_alive:
                raise
            response = self._post(body, key)  # the server may have closed the idle connection: retry on a new one
        self._check_status(response)
        return ids

    def idle(self) -> None:
        """Nothing to do: the next POST connects."""

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _post(self, body: bytes, key: str) -> http.client.HTTPResponse:
        """Send a request and read the response. Raises SinkError (retry) if there is none."""
        headers = {**self._headers, "Idempotency-Key": key}
        try:
            if self._token is not None:
                headers["Authorization"] = f"Bearer {self._token.read()}"
            connection = self._connection = self._connection or self._connect()
            connection.request("POST", self._target, body, headers)
            response = connection.getresponse()
            if len(response.read(_MAX_RESPONSE_BYTES)) == _MAX_RESPONSE_BYTES or response.will_close:
                self.close()  # do not read the rest of a long response
        except OSError as exc:
            self.close()
            raise SinkError(_tls.explain(exc, *self._address, self._clock), retry=True) from exc
        except ConfigError as exc:  # the token's file is missing
            raise SinkError(str(exc), retry=True) from exc
        except http.client.HTTPException as exc:
            self.close()
            reason = f"not an HTTP response ({type(exc).__name__})"
            raise SinkError(f"{self._address[0]}:{self._address[1]}: {reason}", retry=True) from exc
        return response

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._address
        connection = (
            http.client.HTTPConnection(host, port, timeout=self._timeout_s)
            if self._tls is None
            else http.client.HTTPSConnection(host, port, timeout=self._timeout_s, context=self._tls)
        )
        connection.connect()
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _check_status(self, response: http.client.HTTPResponse) -> None:
        """Raises SinkError unless the messages are delivered."""
        status = response.status
        if 200 <= status < 300:
            return
        reason = f"{self._address[0]}:{self._address[1]}: {status} {response.reason}"
        if status in _RETRY_STATUS or status >= 500:
            raise SinkError(reason, retry=True, after_s=_retry_after_s(response.getheader("Retry-After"), self._clock))
        if 400 <= status < 500:
            raise SinkError(reason, retry=False)
        raise SinkError(f"{reason} to {response.getheader('Location')}; expected the final address", retry=True)


def _retry_after_s(text: str | None, clock: Clock) -> float | None:
    """Parse a Retry-After header: seconds or a date. None if it is missing or not usable."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text.strip()[:9])
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, moment.timestamp() - clock.utc_ns() / 1e9) if clock.synced() else None
