"""A recorded clip, in any container and codec that OpenCV's FFmpeg decodes.

A frame's timestamp is the clock at the first read plus the frame's presentation time, so a variable frame rate is
preserved and the timestamps of a file are reproducible. A frame that cannot be decoded is skipped and counted. A
truncated clip delivers the frames that it has and then raises ClipError instead of EndOfClip.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import ClipError, EndOfClip
from edge_app.frame import Frame
from edge_app.options import Range
from edge_app.sources._container import edited_s, is_raw, lists_frames, missing_bytes, why_unreadable
from edge_app.sources._ffmpeg import limit_allocations
from edge_app.sources._limits import too_large
from edge_app.sources._opencv import frame_size, silence
from edge_app.sources._pace import Pace, Pacer
from edge_app.sources._presentation import PresentationTimes

_MAX_FPS = 1000.0  # a higher value is a time base, not a frame rate
_DEFAULT_FPS = 25.0  # for files that have neither a frame rate nor presentation times
# Failures in succession that count as the end: beyond those of the frames that the file still declares, and in all.
_MAX_FAILURES = 100, 10_000
_LOG = logging.getLogger(__name__)
# One decoder thread. Frame threads keep several decoded images each. They cost 0.3 ms more CPU time per frame of
# vtest.avi and 0.5 ms per frame of the sample clip, whose replay became 9 % faster. Needs OpenCV 4.7.
_OPEN = [cv2.CAP_PROP_N_THREADS, 1] if hasattr(cv2, "CAP_PROP_N_THREADS") else []


class Source:
    """`video`. fps: instead of the file's times. loop: start again at the end; timestamps continue.

    missing: frames that could not be decoded, in this pass over the file.
    """

    live = None

    def __init__(
        self,
        clock: Clock,
        *,
        path: Path,
        fps: Annotated[float, Range(0.001, 1000)] | None = None,
        pace: Pace = "realtime",
        loop: bool = False,
    ) -> None:
        silence()
        _check_readable(path)
        self._path = path
        self._fps = fps
        self._loop = loop
        self._pacer = Pacer(clock, "video", pace)
        self._capture: cv2.VideoCapture | None = None
        self._period_ns = 0
        self._read_count = 0  # frames read in this pass over the file
        self._expected_count = 0  # that the file declares, exactly or not
        self._failures = 0  # in succession
        self._times = PresentationTimes()
        self._pass_start_ns = 0
        self._warned: set[str] = set()
        self.missing = 0

    def read(self, timeout_s: float) -> Frame | None:
        capture = self._capture or self._open()
        if not self._pacer.pending and not self._decode(capture) and not self._skip_damage(capture, timeout_s):
            return None
        return self._pacer.pop_due(timeout_s)

    def close(self) -> None:
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    @property
    def length(self) -> int | None:
        """Frames that the file declares, once it is open; None if it declares none, or repeats them."""
        return None if self._loop else self._expected_count or None

    def _open(self) -> cv2.VideoCapture:
        limit_allocations()
        capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG, _OPEN)
        if not capture.isOpened():
            raise ClipError(f"{self._path}: {why_unreadable(self._path)}; expected a video")
        if problem := too_large(*frame_size(capture)):
            capture.release()
            raise ClipError(f"{self._path}: {problem}")
        self._capture = capture
        self._expected_count = max(0, round(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
        fps = self._fps or capture.get(cv2.CAP_PROP_FPS)
        fps = fps if 0 < fps <= _MAX_FPS else _DEFAULT_FPS
        self._period_ns = round(1e9 / fps)
        if self._fps is None and is_raw(self._path):
            self._warn("rate", f"has no timestamps; assumed {fps:g} frames per second, which `fps` changes")
        return capture

    def _decode(self, capture: cv2.VideoCapture) -> bool:
        """Hold the next frame. Returns False at a damaged one, and at the end."""
        good, pixels = capture.read()
        if not good:
            return False
        self.missing += self._failures
        self._failures = 0
        self._pacer.hold(np.asarray(pixels, np.uint8), self._stamp_ns(capture))
        self._read_count += 1
        return True

    def _skip_damage(self, capture: cv2.VideoCapture, timeout_s: float) -> bool:
        """Hold the next frame that can be decoded. Returns False if that takes longer than timeout_s.

        OpenCV gives the same answer at the end and for a frame that it cannot decode. After the latter, its next call
        reads on.
        """
        beyond, most = _MAX_FAILURES
        deadline_s = time.monotonic() + timeout_s
        while True:
            self._failures += 1
            if self._failures > min(max(0, self._expected_count - self._read_count - self.missing) + beyond, most):
                self._end_pass()
                capture = self._open()
            if self._decode(capture):
                return True
            if time.monotonic() > deadline_s:
                return False

    def _end_pass(self) -> None:
        """Raise EndOfClip or ClipError at the end, or prepare the next pass."""
        if self._read_count == 0:
            raise ClipError(f"{self._path}: none of its frames can be decoded; expected a video")
        self.missing = self._count_missing()
        missing = missing_bytes(self._path)
        if missing:
            length_s = (self._times.last_ns - self._pass_start_ns) * 1e-9
            raise ClipError(
                f"{self._path}: is truncated after frame {self._read_count - 1} ({length_s:.1f} s):"
                f" {missing} bytes are missing; expected a complete video"
            )
        if self.missing:
            self._warn("missing", f"frames that could not be decoded: {self.missing}; frames read: {self._read_count}")
        if not self._loop:
            raise EndOfClip
        self._times.restart(self._period_ns)
        self._pass_start_ns = self._times.last_ns + self._period_ns
        self._read_count = self._failures = self.missing = 0
        self.close()  # opened again, because seeking is not exact in every container

    def _count_missing(self) -> int:
        """The frames that could not be decoded, and those that the demuxer did not find, if the file declares them."""
        if not lists_frames(self._path):
            return max(self.missing, 0 if self._fps else self._times.skipped)
        shown_s = edited_s(self._path)
        if shown_s is None:
            return max(self.missing, self._expected_count - self._read_count)
        if self._fps:
            return self.missing
        found = max(self.missing, self._times.skipped) if self.missing else 0
        end_ns = self._times.last_ns - self._pass_start_ns + self._period_ns
        at_end = (shown_s * 1e9 - end_ns) / self._period_ns
        return found + (round(at_end) if at_end > 1.5 else 0)

    def _stamp_ns(self, capture: cv2.VideoCapture) -> int:
        """Nanoseconds since the first frame, strictly increasing."""
        if self._fps is not None:
            self._times.last_ns = self._pass_start_ns + round(self._read_count * 1e9 / self._fps)
            return self._times.last_ns
        jump = self._times.next(round(capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6), self._period_ns)
        if jump is not None:
            step_s = abs(self._times.jump_ns) * 1e-9
            what = f"its timestamps jump {jump} by {step_s:.1f} s at frame {self._read_count}"
            self._warn("jump", f"{what}; continued without a gap")
        return self._times.last_ns

    def _warn(self, kind: str, text: str) -> None:
        """Log a problem of the file, each kind once."""
        if kind not in self._warned:
            self._warned.add(kind)
            _LOG.warning("%s: %s", self._path, text)


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
