"""The presentation times of a clip's frames, made usable: increasing, and without implausible steps.

A file of two joined recordings, or a damaged one, may claim that the next frame is a day away. Not a source: the
registry skips names with an underscore.
"""

from __future__ import annotations

from typing import Literal

_MAX_GAP_NS = 60 * 10**9
_MAX_GAP_PERIODS = 10  # time-lapse recordings: frames may be minutes apart
_MAX_BACK_NS = 10**9  # a longer step back is another recording
_MAX_CLAIM_NS = 5 * 10**18  # 158 years, since some files count from 1970; FFmpeg's value for an unknown time is above
# The rate is constant if so many intervals are one period, and the others are at most a ninth of them, or few.
_MIN_REGULAR = 5
_FEW = 3
_TOLERANCE = 0.25  # of a period: times are rounded to milliseconds in Matroska

Jump = Literal["forward", "back"]


class PresentationTimes:
    """Turns the times in a file into nanoseconds since the first frame, strictly increasing.

    A frame whose time is unknown, repeated or slightly too early follows its predecessor by one period; so does the
    first one after a jump.
    """

    def __init__(self) -> None:
        self.last_ns = -1
        self.jump_ns = 0  # what the file claimed at the last jump
        self._base_ns = 0  # added to a time of the file
        self._last_file_ns: int | None = None
        self._latest_file_ns = 0
        self._regular = self._gaps = self._irregular = 0

    def restart(self, period_ns: int) -> None:
        """The file starts again: its first frame follows one period after the last one."""
        self._base_ns = self.last_ns + period_ns
        self._last_file_ns = None
        self._regular = self._gaps = self._irregular = 0

    @property
    def skipped(self) -> int:
        """Frames that are missing between others; 0 if intervals vary, as they do in a phone's clip."""
        constant = self._regular >= _MIN_REGULAR and self._irregular <= max(
            min(_FEW, self._regular // 4), self._regular // 9
        )
        return max(0, self._gaps) if constant else 0

    def next(self, file_ns: int, period_ns: int) -> Jump | None:
        """Set `last_ns` for the next frame. Returns the direction of a jump of the file's time, which is not followed.

        file_ns: the frame's time in the file. period_ns: the usual interval between frames.
        """
        if abs(file_ns) > _MAX_CLAIM_NS:
            file_ns = self._last_file_ns or 0
        if self._last_file_ns is None:
            self._last_file_ns = self._latest_file_ns = file_ns
            self._base_ns -= file_ns
            self.last_ns = self._base_ns + file_ns
            return None
        step_ns = file_ns - self._last_file_ns
        # OpenCV 4.6 has no time for the last frames of H.264 with B-frames: 0.
        unknown = file_ns == 0 or step_ns == 0
        jump: Jump | None = None
        if not unknown:
            if step_ns > max(_MAX_GAP_NS, _MAX_GAP_PERIODS * period_ns):
                jump = "forward"
            elif step_ns < -_MAX_BACK_NS:
                jump = "back"
            if jump is not None:
                self.jump_ns = step_ns
                self._base_ns = self.last_ns + period_ns - file_ns
                self._latest_file_ns = file_ns
            else:
                self._count(file_ns, period_ns)
            self._last_file_ns = file_ns
        offset_ns = self._base_ns + file_ns
        self.last_ns = offset_ns if offset_ns > self.last_ns and not unknown else self.last_ns + period_ns
        return jump

    def _count(self, file_ns: int, period_ns: int) -> None:
        """Count a gap before this frame, or one frame less in a gap: damage also changes the order of frames."""
        step_ns = file_ns - self._latest_file_ns
        if step_ns < 0:
            self._gaps -= 1
            return
        self._latest_file_ns = file_ns
        whole = round(step_ns / period_ns)
        if abs(step_ns - period_ns) <= _TOLERANCE * period_ns:
            self._regular += 1
        else:
            self._irregular += 1
        if whole > 1:
            self._gaps += whole - 1
