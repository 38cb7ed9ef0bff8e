"""A recorded clip, in any container and codec that OpenCV's FFmpeg decodes.

A frame's timestamp is the clock at the first read plus the frame's presentation time, so a variable frame rate is
preserved and the timestamps of a file are reproducible. A truncated clip delivers the frames that it has and then
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
from edge_app.sources._ffmpeg import limit_allocations
from edge_app.sources._limits import too_large
from edge_app.sources._opencv import frame_size, silence
from edge_app.sources._pace import Pace, Pacer

_MAX_FPS = 1000.0  # a higher value is a time base, not a frame rate
_DEFAULT_FPS = 25.0  # for files that have neither a frame rate nor presentation times
# One decoder thread. Frame threads keep several decoded images each. They cost 0.3 ms more CPU time per frame of
# vtest.avi and 0.5 ms per frame of the sample clip, whose replay became 9 % faster. Needs OpenCV 4.7.
_OPEN = [cv2.CAP_PROP_N_THREADS, 1] if hasattr(cv2, "CAP_PROP_N_THREADS") else []


class Source:
    """`video`. loop: start again at the end; timestamps continue."""

    live = None

    def __init__(self, clock: Clock, *, path: Path, pace: Pace = "realtime", loop: bool = False) -> None:
        silence()
        _check_readable(path)
        self._path = path
        self._loop = loop
        self._pacer = Pacer(clock, "video", pace)
        self._capture: cv2.VideoCapture | None = None
        self._read_count = 0  # frames read in this pass over the file
        self._base_ns = 0  # offset of the first frame of this pass
        self._first_ns = 0  # presentation time of the file's first frame
        self._last_ns = -1

    def read(self, timeout_s: float) -> Frame | None:
        while not self._pacer.pending:
            self._decode()
        return self._pacer.pop_due(timeout_s)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def _open(self) -> cv2.VideoCapture:
        limit_allocations()
        capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG, _OPEN)
        if not capture.isOpened():
            raise ClipError(f"{self._path}: {why_unreadable(self._path)}; expected a video")
        if problem := too_large(*frame_size(capture)):
            capture.release()
            raise ClipError(f"{self._path}: {problem}")
        return capture

    def _decode(self) -> None:
        capture = self._capture = self._capture or self._open()
        good, pixels = capture.read()
        if not good:
            self._end_pass(capture)
            return
        self._pacer.hold(np.asarray(pixels, np.uint8), self._stamp_ns(capture))
        self._read_count += 1

    def _end_pass(self, capture: cv2.VideoCapture) -> None:
        if self._read_count == 0:
            raise ClipError(f"{self._path}: none of its frames can be decoded; expected a video")
        missing = missing_bytes(self._path)
        if missing:
            length_s = (self._last_ns - self._base_ns) * 1e-9
            raise ClipError(
                f"{self._path}: is truncated after frame {self._read_count - 1} ({length_s:.1f} s):"
                f" {missing} bytes are missing; expected a complete video"
            )
        if not self._loop:
            raise EndOfClip
        self._base_ns = self._last_ns + _period_ns(capture)
        self._read_count = 0
        self.close()  # reopened by the next read, because seeking is not exact in every container

    def _stamp_ns(self, capture: cv2.VideoCapture) -> int:
        """Nanoseconds since the first frame. Strictly increasing, even if the file's times repeat or go backwards."""
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
