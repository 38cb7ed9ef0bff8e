"""A network camera over RTSP, decoded by OpenCV's FFmpeg.

Not here: the login and variables in the address (_address.py), reconnecting (capture/thread.py).
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import SourceError
from edge_app.frame import Frame
from edge_app.options import Range, Secret, Url
from edge_app.options.name_lookup import Address, look_up
from edge_app.sources import LiveLimits
from edge_app.sources._address import resolve, shown, with_login
from edge_app.sources._arrival import ArrivalClock, Reordering
from edge_app.sources._ffmpeg import limit_allocations
from edge_app.sources._limits import too_large
from edge_app.sources._opencv import frame_size, silence

_CAPTURE_OPTIONS = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
# Without `nobuffer`, which would discard the packets read while probing, so that decoding waits for the next key frame.
# FFmpeg would read 20 frames of MJPEG to find their rate.
_QUICK_START = "analyzeduration;500000|fpsprobesize;0"
_PROBE_S = 1.0
_HANG_MARGIN_S = 5.0  # after both timeouts, before a read counts as hung: FFmpeg checks them only between its waits
_STALE_FRAMES = 4  # intervals of jitter, added to `stale_after_s`
_N_THREADS: int | None = getattr(cv2, "CAP_PROP_N_THREADS", None)  # older OpenCV has neither
_FRAME_TYPE: int | None = getattr(cv2, "CAP_PROP_FRAME_TYPE", None)
_REORDERING_CODECS = ("h264", "hevc")

Timeout = Annotated[float, Range(0.1, 600)]
_URL = Url("rtsp", "rtsps")


class Source:
    """`rtsp`. username, password: instead of those in the url. credentials: a file that contains `user:password`.

    open_timeout_s, read_timeout_s: OpenCV's timeouts. stale_after_s, frozen_after_s: see `LiveLimits`.
    decode_threads: more of them decode larger images; each one after the first delays every frame by one frame
    interval (H.264, H.265). Debian 12's OpenCV has as many as the processor has cores.

    A frame's timestamp is its arrival less its delay (see _arrival.py), so its age shows a growing backlog.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        url: Annotated[str, _URL],
        username: str | None = None,
        password: Secret | None = None,
        credentials: Path | None = None,
        transport: Literal["tcp", "udp"] = "tcp",
        open_timeout_s: Timeout = 10.0,
        read_timeout_s: Timeout = 10.0,
        stale_after_s: Timeout = 5.0,
        frozen_after_s: Annotated[float, Range(0)] = 120.0,
        decode_threads: Annotated[int, Range(1, 16)] = 2,
    ) -> None:
        silence()
        self._url = with_login(resolve(url, _URL), username, password, credentials)
        self._shown = shown(url)
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
        self._decode_threads = min(decode_threads, os.cpu_count() or 1)
        self._decoder_frames: int | None = None
        self._arrival = ArrivalClock(clock)
        self._reordering = Reordering()
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
        stream_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        captured_ns, utc_ns = self._arrival.stamp(stream_ns, self._hidden_frames(capture))
        late_s = self._arrival.backlog_s
        if late_s > self.live.stale_after_s + _STALE_FRAMES * self._arrival.interval_s:
            raise SourceError(f"{self._shown}: frames arrive {late_s:.1f} s late; expected a steady delay")
        frame = Frame("rtsp", self._sequence, captured_ns, utc_ns, np.asarray(pixels, np.uint8))
        self._sequence += 1
        return frame

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> cv2.VideoCapture:
        limit_allocations()
        self._arrival.start()
        started_s = time.monotonic()
        addresses = self._look_up()  # FFmpeg's own lookup has no time limit, but is quick after this one
        left_s = max(0.1, self._open_timeout_s - (time.monotonic() - started_s))
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(left_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(self._read_timeout_s * 1000),
        ]
        if _N_THREADS is not None:
            parameters += [_N_THREADS, self._decode_threads]
        with _capture_options(f"rtsp_transport;{self._transport}|{_QUICK_START}"):
            capture = cv2.VideoCapture(self._url, cv2.CAP_FFMPEG, parameters)
        if not capture.isOpened():
            waited_s = time.monotonic() - started_s
            timed_out = waited_s >= self._open_timeout_s
            raise self._not_opened(f"no answer within {waited_s:.1f} s" if timed_out else _open_failure(addresses))
        if problem := too_large(*frame_size(capture)):
            capture.release()
            raise SourceError(f"{self._shown}: {problem}")
        return capture

    def _hidden_frames(self, capture: cv2.VideoCapture) -> int:
        """How many later frames have arrived when the decoder returns one; see `DelayEstimator`."""
        if self._decoder_frames is None:
            self._decoder_frames = _decoder_frames(capture)
        if not self._decoder_frames or _FRAME_TYPE is None:
            return self._decoder_frames
        return self._decoder_frames + self._reordering.update(chr(int(capture.get(_FRAME_TYPE))))

    def _look_up(self) -> list[Address]:
        parts = urlsplit(self._url)
        port = parts.port or (322 if parts.scheme == "rtsps" else 554)
        try:
            return look_up(parts.hostname or "", port, self._open_timeout_s)
        except OSError as exc:
            raise self._not_opened(exc.strerror or "no address") from exc

    def _not_opened(self, reason: str) -> SourceError:
        return SourceError(f"{self._shown}: cannot be opened: {reason}; expected an RTSP stream")


def _decoder_frames(capture: cv2.VideoCapture) -> int:
    """Frames that FFmpeg holds without B-frames: one to find the end of a frame, one for each further thread."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    if code.to_bytes(4, "little").decode("latin-1").lower() not in _REORDERING_CODECS:
        return 0
    threads = round(capture.get(_N_THREADS)) if _N_THREADS is not None else os.cpu_count()
    return max(1, threads or 1)


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


def _open_failure(addresses: Sequence[Address]) -> str:
    """Why the stream cannot be opened. OpenCV gives no reason, so try to connect to the port."""
    try:
        socket.create_connection(addresses[0].sockaddr[:2], _PROBE_S).close()
    except OSError as exc:
        return exc.strerror or "no connection"
    return "rejected by the server; check the path, user and password"
