"""A network camera over RTSP, decoded by OpenCV's FFmpeg.

Credentials do not belong in config.yaml: `${NAME}` in the url is replaced with an environment variable, or
`credentials` names a file that contains `user:password`. No message shows them.
Not here: reconnecting (capture/thread.py).
"""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import ConfigError, SourceError
from edge_app.frame import Frame
from edge_app.options import Range
from edge_app.options.files import MAX_TEXT, read_regular
from edge_app.sources import LiveLimits
from edge_app.sources._limits import too_large
from edge_app.sources._opencv import frame_size, silence

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Without `nobuffer`, which would discard the packets read while probing, so that decoding waits for the next key frame.
_QUICK_START = "flags;low_delay|analyzeduration;500000"
_PROBE_S = 1.0
_HANG_MARGIN_S = 5.0  # after both timeouts, before a read counts as hung: FFmpeg checks them only between its waits
_DRIFT = 2e-4  # seconds per second by which the camera's clock may be slower than ours
_JUMP_S = 30.0  # a jump of the stream's times by more than this means that the camera has set its clock

Timeout = Annotated[float, Range(0.1, 600)]


class Source:
    """`rtsp`. open_timeout_s, read_timeout_s: OpenCV's timeouts. stale_after_s, frozen_after_s: see `LiveLimits`.

    A frame's timestamp is its arrival time minus its lag (see `_LagEstimator`), so its age shows a growing backlog.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        url: str,
        credentials: Path | None = None,
        transport: Literal["tcp", "udp"] = "tcp",
        open_timeout_s: Timeout = 10.0,
        read_timeout_s: Timeout = 10.0,
        stale_after_s: Timeout = 5.0,
        frozen_after_s: Annotated[float, Range(0)] = 120.0,
    ) -> None:
        silence()
        self._url = _with_credentials(_resolved(url), credentials)
        self._shown = without_secrets(self._url)
        self._clock = clock
        self._transport = transport
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self.live = LiveLimits(
            hang_after_s=open_timeout_s + read_timeout_s + _HANG_MARGIN_S,
            silent_after_s=read_timeout_s,
            stale_after_s=stale_after_s,
            frozen_after_s=frozen_after_s,
        )
        self._capture: cv2.VideoCapture | None = None
        self._lag = _LagEstimator()
        self._sequence = 0

    def read(self, timeout_s: float) -> Frame:
        """Return the next frame. `timeout_s` is ignored: OpenCV always waits up to `read_timeout_s`."""
        del timeout_s
        capture = self._capture = self._capture or self._open()
        started_s = time.monotonic()
        good, pixels = capture.read()
        waited_s = time.monotonic() - started_s
        if waited_s >= self._read_timeout_s:  # OpenCV then returns frames left in the decoder
            raise SourceError(f"{self._shown}: no frame for {waited_s:.1f} s; expected a live stream")
        if not good:
            raise SourceError(f"{self._shown}: the stream ended; expected a live stream")
        now_ns = self._clock.monotonic_ns()
        lag_ns = self._lag.update(now_ns, round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6))
        utc_ns = self._clock.utc_ns() - lag_ns
        frame = Frame("rtsp", self._sequence, now_ns - lag_ns, utc_ns, np.asarray(pixels, np.uint8))
        self._sequence += 1
        return frame

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> cv2.VideoCapture:
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(self._open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(self._read_timeout_s * 1000),
        ]
        started_s = time.monotonic()
        with _capture_options(f"rtsp_transport;{self._transport}|{_QUICK_START}"):
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, timeouts)
        if not capture.isOpened():
            waited_s = time.monotonic() - started_s
            timed_out = waited_s >= self._open_timeout_s
            reason = f"no answer within {waited_s:.1f} s" if timed_out else _open_failure(self._url)
            raise SourceError(f"{self._shown}: cannot be opened: {reason}; expected an RTSP stream")
        if problem := too_large(*frame_size(capture)):
            capture.release()
            raise SourceError(f"{self._shown}: {problem}")
        return capture


class _LagEstimator:
    """Estimates how late a frame arrives, relative to the frame with the least delay so far: the backlog."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._least_ns: int | None = None  # least delay so far, arrival minus presentation time

    def update(self, now_ns: int, stream_ns: int) -> int:
        """Return the frame's lag in ns, >= 0. now_ns: arrival; stream_ns: presentation time, <= 0 if unknown."""
        if stream_ns <= 0:
            return 0
        delay_ns = now_ns - stream_ns
        if self._least_ns is None or abs(delay_ns - self._least_ns) > _JUMP_S * 1e9:
            self._least_ns = delay_ns
        else:
            drifted_ns = self._least_ns + round((now_ns - self._last_ns) * _DRIFT)
            self._least_ns = min(delay_ns, drifted_ns)
        self._last_ns = now_ns
        return delay_ns - self._least_ns


def without_secrets(url: str) -> str:
    """The url for messages: without user and password, and without the query, where some cameras expect them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


def _resolved(url: str) -> str:
    """Replace each ${NAME}. In the login part, the value is a user or password: its `@`, `:` and `/` are escaped."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ConfigError(f"source.url: found ${{{name}}}; expected an environment variable of that name")
        in_login = "@" in url[match.end() :] and "://" in url[: match.start()]
        return quote(os.environ[name], safe="") if in_login else os.environ[name]

    url = _REFERENCE.sub(value, url)
    if urlsplit(url).scheme not in ("rtsp", "rtsps") or not urlsplit(url).hostname:
        raise ConfigError("source.url: found no camera address; expected rtsp://host[:port]/path")
    return url


def _with_credentials(url: str, credentials: Path | None) -> str:
    if credentials is None:
        return url
    try:
        user, colon, password = read_regular(credentials, MAX_TEXT).decode().strip().partition(":")
    except OSError as exc:
        raise ConfigError(f"{credentials}: cannot be read: {exc.strerror}; expected a line user:password") from exc
    except UnicodeDecodeError:
        raise ConfigError(f"{credentials}: found bytes that are not UTF-8; expected a line user:password") from None
    if not colon or not user:
        raise ConfigError(f"{credentials}: found no colon; expected a line user:password")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}").geturl()


@contextmanager
def _capture_options(options: str) -> Iterator[None]:
    """Pass options to FFmpeg through OpenCV's environment variable, the only way. A value set by the user wins."""
    before = os.environ.get(_CAPTURE_OPTIONS)
    os.environ[_CAPTURE_OPTIONS] = before or options
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CAPTURE_OPTIONS]


def _open_failure(url: str) -> str:
    """Why the stream cannot be opened. OpenCV gives no reason, so try to connect to the port."""
    parts = urlsplit(url)
    port = parts.port or (322 if parts.scheme == "rtsps" else 554)
    try:
        socket.create_connection((parts.hostname, port), _PROBE_S).close()
    except OSError as exc:
        return exc.strerror or "no connection"
    return "rejected by the server; check the path, user and password"
