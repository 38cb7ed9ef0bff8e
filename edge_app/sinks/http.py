"""HTTP: POSTs JSON arrays of messages. A 2xx response acknowledges all messages of the request.

`Idempotency-Key` identifies the batch: it is the same if the same messages are sent again. 5xx and those 4xx that the
operator or time can correct (an expired token, a wrong address) are retried, after `Retry-After` if present. Messages
that get another 4xx are refused and not sent again. Redirects are not followed. Proxy settings of the environment are
ignored. Connecting, sending and the response share one deadline.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult

from edge_app import __version__
from edge_app.clock import Clock
from edge_app.dialects import Conversion, Publication
from edge_app.errors import ConfigError, OptionError, SinkError, foreign_text
from edge_app.messages import Message
from edge_app.network.connection import Deadline
from edge_app.network.http_client import HttpClient
from edge_app.network.tls import client_context, explain
from edge_app.options import Positive, Range
from edge_app.options.secret import Secret
from edge_app.options.url import Url
from edge_app.sinks import SinkContext, _cloudevents
from edge_app.sinks._dialect import dialect_of

_MAX_BODY_BYTES = 4 * 1024
_MAX_RESPONSE_BYTES = 64 * 1024  # header, interim responses and body together
_RETRY_STATUS = (401, 403, 404, 405, 407, 408, 429)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_MAX_DATE = 64
_MIN_SECRET = 8  # characters; a shorter value of a header is no secret


class Sink:
    """batch: messages per request. token: for `Authorization: Bearer`. ca: trusted authorities; null: the system's.

    timeout_s: for one request, from connecting to the end of the response. linger_s: how long a batch that is not full
    waits for more messages. dialect: of the elements, if not edge-app: `topic` and `payload`. cloudevents: send
    CloudEvents.
    """

    def __init__(
        self,
        context: SinkContext,
        *,
        url: Annotated[str, Url("http", "https")],
        batch: Annotated[int, Range(1, 1000)] = 50,
        linger_s: Annotated[float, Range(0, 60)] = 0.0,
        timeout_s: Annotated[float, Range(0.1, 300)] = 10.0,
        dialect: str = "edge-app",
        cloudevents: bool = False,
        token: Secret | None = None,
        headers: Mapping[str, str] | None = None,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
    ) -> None:
        self._clock = context.clock
        self.batch_limit: Positive = batch
        self.linger_s = linger_s
        self._dialect = dialect_of(dialect, replace(context, snapshots=None))  # an image is no JSON
        self._base = self._dialect.prefix + (f"/{context.device_id}" if self._dialect.per_device else "")
        self._conversion = None if dialect == "edge-app" else Conversion(self._dialect)
        self._source = _cloudevents.source_of(context.device_id, context.source) if cloudevents else None
        parts = _parse(url)
        self._client = HttpClient(parts, client_context(ca, cert, key) if parts.scheme == "https" else None)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._token = token
        self._sent_token = self._read_token()  # raises ConfigError now; read for each request: it may be replaced
        own = headers or {}
        self._private = [value for value in own.values() if len(value) >= _MIN_SECRET]
        self._headers = {"Content-Type": "application/json", "User-Agent": f"edge-app/{__version__}", **own}
        for name, value in self._headers.items():
            if not (_HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
                raise ConfigError(f"headers.{foreign_text(name, 40)}: expected ASCII on one line")

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError; see the module's docstring for which responses are retried."""
        ids = [message.id for message in batch]
        headers, body = self._request(batch)
        if body:
            self._deliver(ids, headers, body)
        if self._conversion is not None:
            for id_ in ids:
                self._conversion.forget(id_)
        return ids

    def _request(self, batch: Sequence[Message]) -> tuple[dict[str, str], bytes]:
        """Headers and body; no body if the dialect has nothing for these messages."""
        source = self._source
        if self._conversion is None and source is None:
            return {}, b"[" + b",".join([message.payload for message in batch]) + b"]"
        if self._conversion is None and source is not None:
            return _cloudevents.request([_cloudevents.event_of(m, source, m.payload) for m in batch])
        converted = [(m, n, each) for m in batch for n, each in enumerate(self._converted(m))]
        if not converted:
            return {}, b""
        if source is None:
            return {}, b"[" + b",".join([self._element(each) for _, _, each in converted]) + b"]"
        events = [
            _cloudevents.event_of(m, source, _as_json(each.payload), n, f"{self._base}/{each.topic}")
            for m, n, each in converted
        ]
        return _cloudevents.request(events)

    def _converted(self, message: Message) -> Sequence[Publication]:
        assert self._conversion is not None
        return self._conversion.of(message)

    def _element(self, publication: Publication) -> bytes:
        topic = json.dumps(f"{self._base}/{publication.topic}", ensure_ascii=False).encode()
        return b'{"topic":' + topic + b',"payload":' + _as_json(publication.payload) + b"}"

    def _deliver(self, ids: Sequence[str], headers: Mapping[str, str], body: bytes) -> None:
        """POST a body once or twice. Raises SinkError."""
        key = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:32] if len(ids) > 1 else ids[0]
        kept_alive = self._client.is_open
        deadline = Deadline(self._timeout_s)
        try:
            response = self._post(body, {**headers, "Idempotency-Key": key}, deadline)
        except SinkError:
            if not kept_alive:
                raise  # else the server may have closed the idle connection
            response = self._post(body, {**headers, "Idempotency-Key": key}, deadline)
        self._check_status(response)

    def idle(self) -> None:
        """Nothing to do: the next POST connects."""

    def close(self) -> None:
        self._client.close()

    def _post(self, body: bytes, own: Mapping[str, str], deadline: Deadline) -> http.client.HTTPResponse:
        """Send a request and read the response. own: its own headers. Raises SinkError (retry) if there is none."""
        headers = {**self._headers, **own}
        try:
            self._sent_token = self._read_token()
            if self._sent_token is not None:
                headers["Authorization"] = f"Bearer {self._sent_token}"
            with self._client.request(self._target, headers, deadline, _MAX_RESPONSE_BYTES, body=body) as response:
                if len(response.read(_MAX_BODY_BYTES)) == _MAX_BODY_BYTES or response.will_close:
                    self.close()  # do not read the rest of a long response
        except OSError as exc:
            self.close()
            raise SinkError(explain(exc, *self._client.address, self._clock), retry=True) from exc
        except ConfigError as exc:  # the token's file is missing
            raise SinkError(str(exc), retry=True) from exc
        except (http.client.HTTPException, ValueError) as exc:  # ValueError: a length that is not a number
            self.close()
            reason = f"not an HTTP response ({type(exc).__name__})"
            raise SinkError(f"{self._client.where}: {reason}", retry=True) from exc
        return response

    def _read_token(self) -> str | None:
        """Raises ConfigError, which does not quote it."""
        token = None if self._token is None else self._token.read()
        if token is not None and not (token.isascii() and token.isprintable()):
            raise ConfigError(f"token {self._token}: found other characters than printable ASCII; expected a token")
        return token

    def _check_status(self, response: http.client.HTTPResponse) -> None:
        """Raises SinkError unless the messages are delivered."""
        status = response.status
        if 200 <= status < 300:
            return
        reason = f"{self._client.where}: {status} {self._foreign_text(response.reason)}"
        if status in _RETRY_STATUS or status >= 500:
            raise SinkError(reason, retry=True, after_s=_retry_after_s(response.getheader("Retry-After"), self._clock))
        if 400 <= status < 500:
            raise SinkError(reason, retry=False)
        if status < 200:
            self.close()  # http.client does not read the response that follows
            raise SinkError(f"{reason}; expected a final response", retry=True)
        location = self._foreign_text(response.getheader("Location", "an unknown address"))
        raise SinkError(f"{reason} to {location}; expected the final address", retry=True)

    def _foreign_text(self, text: str) -> str:
        """Text of the server for a message, without the token and our own headers, which a server may repeat."""
        for secret in (self._sent_token, *self._private):
            text = text.replace(secret, "…") if secret else text
        return foreign_text(text)


def _as_json(payload: bytes) -> bytes:
    """The payload of a publication: JSON as it is, other text as a string, nothing as null."""
    text = payload.decode()
    try:
        json.loads(text)
    except ValueError:
        return json.dumps(text or None).encode()
    return payload


def _parse(url: str) -> SplitResult:
    """Split and check a URL. Raises OptionError, which does not quote it."""
    try:
        parts = Url("http", "https").parse(url)
    except ValueError as exc:
        raise OptionError("url", str(exc)) from None
    if "@" in parts.netloc:
        raise OptionError("url", "found a user or password; expected the option token instead")
    if not (parts.path + parts.query).isascii():
        raise OptionError("url", "found a character that is not ASCII; expected it percent-encoded")
    return parts


def _retry_after_s(text: str | None, clock: Clock) -> float | None:
    """Parse a Retry-After header: seconds or a date. None if it is missing or not usable."""
    if text is None:
        return None
    text = text.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:9])
    try:
        moment_s = parsedate_to_datetime(text[:_MAX_DATE]).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):  # a date that it cannot represent
        return None
    return max(0.0, moment_s - clock.utc_ns() / 1e9) if clock.synced() else None
