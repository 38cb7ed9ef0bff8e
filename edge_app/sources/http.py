"""A network camera over HTTP: a stream of JPEGs (multipart/x-mixed-replace), or one JPEG that is requested repeatedly.

Incomplete JPEGs are dropped. A stream that sends faster than this machine decodes loses its older images. A redirect is
followed to the same host only, and never from https to http. Proxy settings of the environment are ignored.
Not here: login (_http_login.py), the parts of a stream (_multipart.py), reconnecting (capture/thread.py).
"""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from mimetypes import types_map
from pathlib import Path
from typing import Annotated
from urllib.parse import SplitResult, quote, unquote, urldefrag, urljoin, urlsplit

import cv2
import numpy as np

from edge_app import __version__
from edge_app.clock import Clock
from edge_app.errors import OptionError, SourceError, foreign_text
from edge_app.frame import Frame, UInt8
from edge_app.network.connection import Deadline
from edge_app.network.http_client import HttpClient
from edge_app.network.tls import client_context, why_failed
from edge_app.options import Range, Secret, Url
from edge_app.sources import LiveLimits
from edge_app.sources._address import resolve, shown, with_login
from edge_app.sources._arrival import ArrivalClock
from edge_app.sources._http_login import Login
from edge_app.sources._jpeg import is_complete
from edge_app.sources._limits import declared_size, too_large
from edge_app.sources._multipart import JpegStream, MultipartError, image_too_large
from edge_app.sources._opencv import silence

_LOG = logging.getLogger(__name__)
_URL = Url("http", "https")
_CHUNK = 64 * 1024
_HEADER_BYTES = 64 * 1024  # of a response; also what its transfer encoding adds to a chunk
_MAX_REQUESTS = 6  # for one response: a challenge, a new nonce, redirects
_MAX_CHUNKS = 256  # that are read to catch up with a stream
_HANG_MARGIN_S = 5.0
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"User-Agent": f"edge-app/{__version__}", "Accept": "multipart/x-mixed-replace, image/jpeg"}
_KEPT = "%/:=&?~+!$,;'@()*[]"  # characters of an address that are not encoded


class Source:
    """`http`. username, password: instead of those in the url. credentials: a file that contains `user:password`.

    fps: requests per second, of a single JPEG. timeout_s: for an answer, and for each image. max_bytes: of a JPEG.
    ca: trusted authorities for https; null: the system's. verify: false accepts any server. frozen_after_s: see
    `LiveLimits`.

    A frame's timestamp is the time at which its last byte arrived.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        url: Annotated[str, _URL],
        username: str | None = None,
        password: Secret | None = None,
        credentials: Path | None = None,
        fps: Annotated[float, Range(0.001, 100)] = 1.0,
        timeout_s: Annotated[float, Range(0.1, 600)] = 10.0,
        max_bytes: Annotated[int, Range(1024, 64 << 20)] = 8 << 20,
        ca: Path | None = None,
        verify: bool = True,
        frozen_after_s: Annotated[float, Range(0)] = 120.0,
    ) -> None:
        silence()
        if ca is not None and not verify:
            raise OptionError("ca", "found it together with verify: false; expected one of the two")
        complete = urlsplit(with_login(resolve(url, _URL), username, password, credentials))
        self._shown = shown(url)
        self._login = _login_of(complete)
        self._url = complete._replace(netloc=complete.netloc.rpartition("@")[2])
        self._tls = client_context(ca, verify=verify) if complete.scheme == "https" or ca or not verify else None
        self._clock = clock
        self._arrival = ArrivalClock(clock)
        self._period_s = 1 / fps
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        silent_after_s = timeout_s + 2 * self._period_s
        self.live = LiveLimits(2 * timeout_s + _HANG_MARGIN_S, silent_after_s, timeout_s, frozen_after_s)
        self._client: HttpClient | None = None
        self._server: tuple[str, str | None, int] | None = None  # scheme, host and port of the client
        self._stream: tuple[HTTPResponse, JpegStream] | None = None
        self._snapshot = bytearray()  # used again for each
        self._next_s: float | None = None  # when the next snapshot is due
        self._warned = False
        self._sequence = 0

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame. Waits up to `timeout_s` for the next request, but for an answer up to the option."""
        if self._next_s is not None and not _wait_until(self._next_s, timeout_s):
            return None
        try:
            return self._frame(self._receive())
        except OSError as exc:
            raise SourceError(f"{self._shown}: {self._reason(exc)}; expected a camera") from exc
        except MultipartError as exc:
            raise SourceError(f"{self._shown}: {exc}") from exc
        except (HTTPException, ValueError) as exc:  # ValueError: a length that is not a number
            raise SourceError(f"{self._shown}: an invalid HTTP response ({foreign_text(exc)})") from exc

    def close(self) -> None:
        self._close_client()
        self._stream = None

    def _reason(self, exc: OSError) -> str:
        if isinstance(exc, TimeoutError) and self._stream is not None:
            return f"no complete image for {self._timeout_s:g} s"
        return why_failed(exc, self._clock)

    def _receive(self) -> bytearray:
        """The next JPEG; empty if it is incomplete. It is valid until the next call."""
        deadline = Deadline(self._timeout_s)
        if self._stream is None:
            response = self._get(deadline)
            type_ = response.headers.get("Content-Type", "")
            first = response.read1(_CHUNK)
            is_stream = type_.lower().lstrip().startswith("multipart/")
            if not is_stream and not first.startswith(b"--"):  # FFmpeg sends a stream without its type
                return self._read_snapshot(response, first)
            self._stream = response, JpegStream(type_, self._max_bytes)
            self._stream[1].feed(first)
            deadline = Deadline(self._timeout_s)
        _, stream = self._stream
        while not stream.next_image():
            self._feed(deadline)
        self._catch_up(deadline)
        return stream.image

    def _feed(self, deadline: Deadline) -> None:
        """Pass what arrives next to the stream. Raises SourceError at its end."""
        assert self._stream is not None
        assert self._client is not None
        response, stream = self._stream
        self._client.extend(deadline, _CHUNK + _HEADER_BYTES)
        data = b"" if stream.ended else response.read1(_CHUNK)
        if not data:
            raise SourceError(f"{self._shown}: the stream ended; expected a live stream")
        stream.feed(data)

    def _catch_up(self, deadline: Deadline) -> None:
        """Go on to the last image that has already arrived."""
        assert self._stream is not None
        assert self._client is not None
        _, stream = self._stream
        for _ in range(_MAX_CHUNKS):
            while stream.next_image():
                pass
            if stream.ended or not self._client.has_data():
                return
            try:
                self._feed(deadline)
            except (SourceError, OSError, HTTPException):  # the next read reports it
                return

    def _read_snapshot(self, response: HTTPResponse, data: bytes) -> bytearray:
        """Read the rest of a JPEG; `data` is its beginning. Empty if it is incomplete."""
        assert self._client is not None
        now_s = time.monotonic()
        self._next_s = max(now_s, (self._next_s or now_s) + self._period_s)
        self._snapshot.clear()
        while data:
            self._snapshot += data
            if len(self._snapshot) > self._max_bytes:
                raise SourceError(f"{self._shown}: {image_too_large(self._max_bytes)}")
            data = response.read1(_CHUNK)
        complete = response.isclosed() or response.length == 0
        response.close()
        if response.will_close or not complete:
            self._client.close()
        if not self._snapshot.startswith(b"\xff\xd8"):
            found = _known_type(response.headers.get("Content-Type", ""))
            raise SourceError(f"{self._shown}: found {found}; expected a JPEG or a stream of JPEGs")
        if not is_complete(self._snapshot):
            self._snapshot.clear()
        return self._snapshot

    def _frame(self, image: bytearray) -> Frame | None:
        captured_ns, utc_ns = self._arrival.stamp()
        size = declared_size(image) if image else None
        if size is not None and (problem := too_large(*size)):
            raise SourceError(f"{self._shown}: {problem}")
        pixels = None if size is None else _decode(image)
        if pixels is None:
            if not self._warned:
                _LOG.warning("%s: dropped an incomplete or damaged JPEG", self._shown)
            self._warned = True
            return None
        frame = Frame("http", self._sequence, captured_ns, utc_ns, pixels)
        self._sequence += 1
        return frame

    def _get(self, deadline: Deadline) -> HTTPResponse:
        """The response with the status 200, after login and redirects. Raises SourceError if there is none."""
        url, answered = self._url, False
        for _ in range(_MAX_REQUESTS):
            response = self._request(url, deadline)
            status = response.status
            if status == HTTPStatus.OK:
                return response
            self._close_client()  # instead of reading the body
            if status == HTTPStatus.UNAUTHORIZED:
                self._answer(response, answered)
                answered = True
            elif status in _REDIRECTS:
                url = self._redirected(url, response.headers.get("Location", ""))
            else:
                raise SourceError(f"{self._shown}: {_status_text(status)}; expected an image or a stream")
        raise SourceError(f"{self._shown}: found {_MAX_REQUESTS} redirects or logins; expected the final address")

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
            target = _URL.parse(quote(urldefrag(urljoin(url.geturl(), location)).url, safe=_KEPT))
        except ValueError:
            raise SourceError(f"{self._shown}: redirects to an invalid address; expected a valid one") from None
        same_server = (target.scheme, _port(target)) == (url.scheme, _port(url))
        to_https = (url.scheme, target.scheme) == ("http", "https")
        if target.hostname != url.hostname or not (same_server or to_https):
            same_host = target.hostname == url.hostname  # another one may repeat a secret
            found = f"{target.scheme}, port {_port(target)}" if same_host else "another host"
            raise SourceError(f"{self._shown}: redirects to {found}; expected the final address in url")
        return target._replace(netloc=target.netloc.rpartition("@")[2])

    def _request(self, url: SplitResult, deadline: Deadline) -> HTTPResponse:
        """Send a request on the open connection, or on a new one if it is closed meanwhile."""
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
        return client.request(target, headers, deadline, self._max_bytes + _HEADER_BYTES)

    def _client_of(self, url: SplitResult) -> HttpClient:
        """The client for the server of an address: a redirect may lead to its https."""
        server = url.scheme, url.hostname, _port(url)
        if self._client is None or self._server != server:
            self._close_client()
            if url.scheme == "https" and self._tls is None:
                self._tls = client_context(None)
            self._client, self._server = HttpClient(url, self._tls if url.scheme == "https" else None), server
        return self._client

    def _close_client(self) -> None:
        if self._client is not None:
            self._client.close()


def _login_of(url: SplitResult) -> Login | None:
    if url.username is None:
        return None
    return Login(unquote(url.username), unquote(url.password or ""))


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _status_text(status: int) -> str:
    """Without the server's own text, which may repeat a secret."""
    known = {each.value: each.phrase for each in HTTPStatus}
    return f"the server answered {status} {known.get(status, '')}".rstrip()


def _known_type(header: str) -> str:
    """A Content-Type for a message. The server's own text may repeat a secret."""
    type_ = header.partition(";")[0].strip().lower()
    return type_ if type_ in types_map.values() else "an unknown type" if type_ else "no type"


def _wait_until(moment_s: float, timeout_s: float) -> bool:
    """Wait for a moment of time.monotonic, up to timeout_s. Returns whether it has come."""
    wait_s = moment_s - time.monotonic()
    if wait_s > 0:
        time.sleep(min(wait_s, timeout_s))
    return wait_s <= timeout_s


def _decode(image: bytearray) -> UInt8 | None:
    try:
        pixels = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:  # an image that OpenCV does not support
        return None
    return None if pixels is None else np.asarray(pixels, np.uint8)
