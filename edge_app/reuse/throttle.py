"""Throttles: pause computations that do not pay off in the current scene, so that an unsuitable scene costs little.

DetectionThrottle pauses change detection, PartialThrottle pauses partial computation. Both use shares of a dense
frame's cost, from the cost model.
"""

from __future__ import annotations

_PATIENCE = 6  # dense frames in a row before the first pause
_SHORTEST = 2  # frames of the first pause
_MAX_OVERHEAD = 0.01  # of a dense frame: average cost limit of change detection while it does not pay off
_BACKOFF_AFTER, _BACKOFF_FACTOR = 6, 3  # after this many ineffective pauses in a row, pauses are longer by this factor
_MEAN_RATE = 1 / 8  # weight of a new frame in the running mean
_WORTHWHILE = 0.95  # of a dense frame: reuse must cost less on average
_FIRST_PAUSE, _LONGEST_PAUSE = 4, 32  # frames without partial computation


class DetectionThrottle:
    """Pauses change detection while it does not pay off: all frames of a pause are dense. Pauses grow up to a limit.

    detection_share: the cost of change detection as a share of a dense frame. The limit follows from it: detection
    costs at most 1 % on average.
    """

    def __init__(self, detection_share: float) -> None:
        self._longest = max(_SHORTEST, round(detection_share / _MAX_OVERHEAD))
        self._dense_in_a_row = 0
        self._mean = 0.0
        self._next_pause = _SHORTEST
        self._useless_pauses = 0  # in a row, without a cheap frame between them

    def record(self, share: float, *, dense: bool) -> int:
        """Record the cost of a frame that was checked for changes. Returns for how many frames to pause."""
        self._mean += _MEAN_RATE * (share - self._mean)
        self._dense_in_a_row = self._dense_in_a_row + 1 if dense else 0
        if self._dense_in_a_row < _PATIENCE and self._mean < _WORTHWHILE:
            if self._mean < _WORTHWHILE / 2:
                self._next_pause = _SHORTEST
            self._useless_pauses = 0 if share < _WORTHWHILE else self._useless_pauses
            return 0
        self._useless_pauses += 1
        longest = self._longest * (_BACKOFF_FACTOR if self._useless_pauses > _BACKOFF_AFTER else 1)
        pause, self._next_pause = min(self._next_pause, longest), min(2 * self._next_pause, longest)
        self._mean = _WORTHWHILE * 0.9  # so that one frame after the pause does not cause another one
        self._dense_in_a_row = _PATIENCE - 1 if dense else 0
        return pause


class PartialThrottle:
    """Pauses partial computation after a run that did not pay off.

    Filling the feature cache costs more than a dense frame. The partial frames that follow must recover that cost;
    otherwise partial computation pauses, longer each time. Change detection continues.
    """

    def __init__(self) -> None:
        self._saved = 0.0  # dense frames, since the cache was filled
        self._active = False
        self._pause = 0
        self._next_pause = _FIRST_PAUSE

    def allows(self) -> bool:
        """Whether a frame may be computed in part. Called once for each frame with changed blocks."""
        self._pause -= self._pause > 0
        return not self._pause

    def record(self, share: float) -> None:
        """Record the cost of a frame that filled the cache or was computed in part."""
        self._active = True
        self._saved += 1 - share

    def end_run(self) -> None:
        """A dense frame has invalidated the feature cache: evaluate the run of partial frames before it."""
        if self._active:
            lost = self._saved < 0
            self._pause = self._next_pause if lost else 0
            self._next_pause = min(2 * self._next_pause, _LONGEST_PAUSE) if lost else _FIRST_PAUSE
        self._active, self._saved = False, 0.0
