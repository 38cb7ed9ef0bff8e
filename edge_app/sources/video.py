"""A recorded clip, in any container and codec that OpenCV's FFmpeg decodes.

Every frame is stamped with the clock at the first read plus its presentation time in the file, so a variable frame
rate is kept and the same file gives the same stamps. A clip that was cut off delivers the frames that it has and then
raises ClipError instead of EndOfClip.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import ClipError, EndOfClip
from edge_app.frame import Frame
from edge_app.sources._container import missing_bytes, why_unreadable
from edge_app.sources._opencv import silence
from edge_app.sources._pace import Pace, Pacer

_MAX_FPS = 1000.0  # above that it is a time base, not a frame rate
_DEFAULT_FPS = 25.0  # of files that tell neither a rate nor times
# One decoder thread: frame threads keep several decoded pictures each, and took 0.3 ms more of CPU time a frame of
# vtest.avi, 0.5 ms of the sample clip, whose replay they made 9 % faster. OpenCV before 4.7 cannot be told.
_OPEN = [cv2.CAP_PROP_N_THREADS, 1] if hasattr(cv2, "CAP_PROP_N_THREADS") else []


class Source:
    """`video`: options path, pace, loop (starts again at the end; the stamps go on)."""

    live = None

    def __init__(self, clock: Clock, *, path: Path, pace: Pace = "realtime", loop: bool = False) -> None:
        silence()
        _check_readable(path)
        self._path = path
        self._loop = loop
        self._pacer = Pacer(clock, "video", pace)
        self._capture: cv2.VideoCapture | None = None
        self._read_count = 0  # of this turn of the loop
        self._base_ns = 0  # where this turn began
        self._first_ns = 0  # the presentation time that the file gives its first frame
        self._last_ns = -1

    def read(self, timeout_s: float) -> Frame | None:
        while not self._pacer.pending:
            self._decode()
        return self._pacer.take(timeout_s)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> cv2.VideoCapture:
        capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG, _OPEN)
        if not capture.isOpened():
            raise ClipError(f"{self._path}: {why_unreadable(self._path)}; expected a video")
        return capture

    def _decode(self) -> None:
        capture = self._capture = self._capture or self._open()
        good, pixels = capture.read()
        if not good:
            self._end_turn(capture)
            return
        self._pacer.offer(np.asarray(pixels, np.uint8), self._stamp_ns(capture))
        self._read_count += 1

    def _end_turn(self, capture: cv2.VideoCapture) -> None:
        if self._read_count == 0:
            raise ClipError(f"{self._path}: no frame of it can be decoded; expected a video")
        missing = missing_bytes(self._path)
        if missing:
            length_s = (self._last_ns - self._base_ns) * 1e-9
            raise ClipError(
                f"{self._path}: breaks off after frame {self._read_count - 1} ({length_s:.1f} s):"
                f" {missing} bytes are missing; expected a whole video"
            )
        if not self._loop:
            raise EndOfClip
        self._base_ns = self._last_ns + _period_ns(capture)
        self._read_count = 0
        self.close()  # and open again: seeking is not exact in every container

    def _stamp_ns(self, capture: cv2.VideoCapture) -> int:
        """Since the first frame, strictly increasing, even where the file's own times stand still or go back."""
        file_ns = round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if self._read_count == 0:
            self._first_ns = file_ns
        offset_ns = self._base_ns + file_ns - self._first_ns
        self._last_ns = offset_ns if offset_ns > self._last_ns else self._last_ns + _period_ns(capture)
        return self._last_ns


def _period_ns(capture: cv2.VideoCapture) -> int:
    fps = capture.get(cv2.CAP_PROP_FPS)
    return round(1e9 / (fps if 0 < fps <= _MAX_FPS else _DEFAULT_FPS))


def _check_readable(path: Path) -> None:
    if not path.exists():
        raise ClipError(f"{path}: no such file; expected a video")
    if not path.is_file():
        found = "a folder" if path.is_dir() else "not a regular file"
        raise ClipError(f"{path}: is {found}; expected a video" + (" (type: images)" if path.is_dir() else ""))
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as exc:
        raise ClipError(f"{path}: cannot be read: {exc.strerror}; expected a video") from exc
    if empty:
        raise ClipError(f"{path}: is empty (0 bytes); expected a video")
