"""A network camera over RTSP, decoded by OpenCV's FFmpeg.

Credentials do not belong into config.yaml: `${NAME}` in the url is taken from the environment, or `credentials` names a
file that holds `user:password`. No message ever shows them. Not here: reconnecting (capture.py).
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
from edge_app.sources import Live
from edge_app.sources._opencv import silence

_REFERENCE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# `nobuffer` would throw away what was read to recognise the stream, and cost the wait for the next key frame.
_QUICK_START = "flags;low_delay|analyzeduration;500000"
_PROBE_S = 1.0
_SPARE_S = 5.0  # beyond both timeouts, before a read counts as hung: FFmpeg checks them between its own waits
_DRIFT = 2e-4  # seconds a second that the camera's clock may be slower than ours
_JUMP_S = 30.0  # of the stream's times: the camera set its clock, nothing is late

Timeout = Annotated[float, Range(0.1, 600)]


class Source:
    """`rtsp`: options url, credentials, transport, the timeouts of OpenCV, and those of `Live`.

    A frame is stamped when it arrives, less what it is behind the most punctual one: its age shows a growing backlog.
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
        self.live = Live(
            hang_after_s=open_timeout_s + read_timeout_s + _SPARE_S,
            silent_after_s=read_timeout_s,
            stale_after_s=stale_after_s,
            frozen_after_s=frozen_after_s,
        )
        self._capture: cv2.VideoCapture | None = None
        self._lag = _Lag()
        self._sequence = 0

    def read(self, timeout_s: float) -> Frame:
        """The next frame. OpenCV cannot wait for less than `read_timeout_s`, so `timeout_s` is not kept to."""
        del timeout_s
        capture = self._capture = self._capture or self._open()
        started_s = time.monotonic()
        good, pixels = capture.read()
        waited_s = time.monotonic() - started_s
        if waited_s >= self._read_timeout_s:  # whatever is returned then is what the decoder had left
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
            late = waited_s >= self._open_timeout_s
            why = f"no answer within {waited_s:.1f} s" if late else _why_refused(self._url)
            raise SourceError(f"{self._shown}: cannot be opened: {why}; expected an RTSP stream")
        return capture


class _Lag:
    """How far behind the most punctual frame so far a frame is: what waits in between."""

    def __init__(self) -> None:
        self._last_ns = 0
        self._least_ns: int | None = None  # the least seen of: our time minus the stream's

    def update(self, now_ns: int, stream_ns: int) -> int:
        """now_ns: when the frame came; stream_ns: its presentation time, 0 or less where unknown. Returns ns, >= 0."""
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
    """The url for messages: no user, no password, and nothing of the query, where some cameras want them."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}{'?…' if parts.query else ''}"


def _resolved(url: str) -> str:
    """Replace each ${NAME}. In front of the host it is one user or password, so its `@`, `:` and `/` are escaped."""

    def value(match: re.Match[str]) -> str:
        name = match[1]
        if name not in os.environ:
            raise ConfigError(f"source.url: found ${{{name}}}; expected an environment variable of that name")
        in_login = "@" in url[match.end() :] and "://" in url[: match.start()]
        return quote(os.environ[name], safe="") if in_login else os.environ[name]

    url = _REFERENCE.sub(value, url)
    if urlsplit(url).scheme not in ("rtsp", "rtsps") or not urlsplit(url).hostname:
        raise ConfigError("source.url: found no address of a camera; expected rtsp://host[:port]/path")
    return url


def _with_credentials(url: str, credentials: Path | None) -> str:
    if credentials is None:
        return url
    try:
        user, colon, password = credentials.read_text(encoding="utf-8").strip().partition(":")
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{credentials}: cannot be read; expected a line user:password") from exc
    if not colon or not user:
        raise ConfigError(f"{credentials}: found no colon; expected a line user:password")
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}").geturl()


@contextmanager
def _capture_options(options: str) -> Iterator[None]:
    """FFmpeg's options reach OpenCV through the environment only; what the user put there comes first."""
    before = os.environ.get(_CAPTURE_OPTIONS)
    os.environ[_CAPTURE_OPTIONS] = before or options
    try:
        yield
    finally:
        if before is None:
            del os.environ[_CAPTURE_OPTIONS]


def _why_refused(url: str) -> str:
    """OpenCV does not tell, so see whether anybody listens there."""
    parts = urlsplit(url)
    port = parts.port or (322 if parts.scheme == "rtsps" else 554)
    try:
        socket.create_connection((parts.hostname, port), _PROBE_S).close()
    except OSError as exc:
        return exc.strerror or "no connection"
    return "the server refuses; is the path right, and the user and password?"
