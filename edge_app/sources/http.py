"""A network camera over HTTP: a stream of JPEGs (multipart/x-mixed-replace), or one JPEG that is requested repeatedly.

Incomplete JPEGs are dropped. A stream that sends faster than this machine decodes loses its older images.
Not here: login and redirects (_http_requests.py), the parts of a stream (_multipart.py), reconnecting
(capture/thread.py).
"""

from __future__ import annotations

import logging
import time
from http.client import HTTPException, HTTPResponse
from mimetypes import types_map
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import OptionError, SourceError, foreign_text
from edge_app.frame import Frame, UInt8
from edge_app.network.connection import Deadline
from edge_app.network.tls import client_context, why_failed
from edge_app.options import Range, Secret
from edge_app.sources import LiveLimits
from edge_app.sources._address import resolve, shown, with_login
from edge_app.sources._arrival import ArrivalClock
from edge_app.sources._http_requests import URL, CameraClient
from edge_app.sources._jpeg import is_complete
from edge_app.sources._limits import declared_size, too_large
from edge_app.sources._multipart import JpegStream, MultipartError, image_too_large
from edge_app.sources._opencv import silence

_LOG = logging.getLogger(__name__)
_CHUNK = 64 * 1024
_HEADER_BYTES = 64 * 1024  # of a response; also what its transfer encoding adds to a chunk
_MAX_CHUNKS = 256  # that are read to catch up with a stream
_HANG_MARGIN_S = 5.0
_DROPPED = "dropped an incomplete or damaged JPEG"


class Source:
    """`http`. username, password: instead of those in the url. credentials: a file that contains `user:password`.

    fps: requests per second, of a single JPEG; null: 1. A stream sets its own rate. timeout_s: for an answer, and for
    each image. max_bytes: of a JPEG. ca: trusted authorities for https; null: the system's. verify: false accepts any
    server. frozen_after_s: see `LiveLimits`.

    A frame's timestamp is the time at which its last byte arrived.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        url: Annotated[str, URL],
        username: str | None = None,
        password: Secret | None = None,
        credentials: Path | None = None,
        fps: Annotated[float, Range(0.001, 100)] | None = None,
        timeout_s: Annotated[float, Range(0.1, 600)] = 10.0,
        max_bytes: Annotated[int, Range(1024, 64 << 20)] = 8 << 20,
        ca: Path | None = None,
        verify: bool = True,
        frozen_after_s: Annotated[float, Range(0)] = 120.0,
    ) -> None:
        silence()
        if ca is not None and not verify:
            raise OptionError("ca", "found it together with verify: false; expected one of the two")
        complete = urlsplit(with_login(resolve(url, URL), username, password, credentials))
        self._shown = shown(url)
        tls = client_context(ca, verify=verify) if complete.scheme == "https" or ca or not verify else None
        self._camera = CameraClient(complete, self._shown, tls, max_bytes + _HEADER_BYTES)
        self._clock = clock
        self._arrival = ArrivalClock(clock)
        self._fps = fps
        self._period_s = 1 / (fps or 1.0)
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        silent_after_s = timeout_s + 2 * self._period_s
        self.live = LiveLimits(2 * timeout_s + _HANG_MARGIN_S, silent_after_s, timeout_s, frozen_after_s)
        self._stream: tuple[HTTPResponse, JpegStream] | None = None
        self._failure: Exception | None = None  # of the stream, after an image that had arrived completely
        self._snapshot = bytearray()  # one buffer for all
        self._next_s: float | None = None  # when the next snapshot is due
        self._warned: set[str] = set()
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
        self._camera.close()
        self._stream = None

    def _reason(self, exc: OSError) -> str:
        if isinstance(exc, TimeoutError) and self._stream is not None:
            return f"no complete image for {self._timeout_s:g} s"
        return why_failed(exc, self._clock)

    def _receive(self) -> bytearray:
        """The next JPEG; empty if it is incomplete. It is valid until the next call."""
        if self._failure is not None:
            raise self._failure
        deadline = Deadline(self._timeout_s)
        if self._stream is None:
            response = self._camera.get(deadline)
            type_ = response.headers.get("Content-Type", "")
            first = response.read1(_CHUNK)
            is_stream = type_.lower().lstrip().startswith("multipart/")
            if not is_stream and not first.startswith(b"--"):  # FFmpeg sends a stream without its type
                return self._read_snapshot(response, first)
            if self._fps is not None:
                self._warn("ignored the option fps: the camera sends a stream, which sets its own rate")
            self._stream = response, JpegStream(type_, self._max_bytes)
            self._stream[1].feed(first)
            deadline = Deadline(self._timeout_s)
        _, stream = self._stream
        while not stream.next_image():
            self._feed(deadline)
        self._catch_up(deadline)
        if stream.dropped:
            self._warn(_DROPPED)
        return stream.image

    def _feed(self, deadline: Deadline) -> None:
        """Pass what arrives next to the stream. Raises SourceError at its end."""
        assert self._stream is not None
        response, stream = self._stream
        self._camera.extend(deadline, _CHUNK + _HEADER_BYTES)
        data = b"" if stream.ended else response.read1(_CHUNK)
        if not data:
            raise SourceError(f"{self._shown}: the stream ended; expected a live stream")
        stream.feed(data)

    def _catch_up(self, deadline: Deadline) -> None:
        """Read on to the latest image that has already arrived."""
        assert self._stream is not None
        _, stream = self._stream
        for _ in range(_MAX_CHUNKS):
            while stream.next_image():
                pass
            if stream.ended or not self._camera.has_data():
                return
            try:
                self._feed(deadline)
            except (SourceError, OSError, HTTPException) as exc:  # the next read raises it
                self._failure = exc
                return

    def _read_snapshot(self, response: HTTPResponse, data: bytes) -> bytearray:
        """Read the rest of a JPEG; `data` is its beginning. Empty if it is incomplete."""
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
            self._camera.close()
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
            self._warn(_DROPPED)
            return None
        frame = Frame("http", self._sequence, captured_ns, utc_ns, pixels)
        self._sequence += 1
        return frame

    def _warn(self, text: str) -> None:
        """Log a warning, each text once."""
        if text not in self._warned:
            self._warned.add(text)
            _LOG.warning("%s: %s", self._shown, text)


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
