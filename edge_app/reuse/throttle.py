"""Whether reuse pays at the moment, so that where it does not, it costs next to nothing.

Counts what answers have cost, by the cost model, against computing everything. Where frames are dense one after the
other, or partial ones save too little, it says for how many frames not even to look.
"""

from __future__ import annotations

_PATIENCE = 6  # dense frames in a row before the first rest
_SHORTEST = 2  # frames of the first rest
_AFFORDED = 0.01  # of a dense frame, that looking may cost on average where it does not pay
_PROVEN, _RARELY = 6, 3  # rests in a row behind which it seems never to pay; how many times as long they are then
_RATE = 1 / 8  # of a frame in the running mean of what reuse costs
_WORTH = 0.95  # of a dense frame: reuse must cost less on average
_FIRST_PAUSE, _LONGEST_PAUSE = 4, 32  # frames for which parts are not tried


class Guard:
    """Fed with what every frame that was looked at has cost, as a share of a dense one.

    look: what looking costs, as such a share: the rests are as long as that takes to be afforded.
    """

    def __init__(self, look: float) -> None:
        self._longest = max(_SHORTEST, round(look / _AFFORDED))
        self._dense = 0  # in a row
        self._mean = 0.0
        self._pause = _SHORTEST
        self._rests = 0  # with no look between that was of use

    def note(self, share: float, *, dense: bool) -> int:
        """Note a frame's cost. Returns how many frames to compute densely now without looking."""
        self._mean += _RATE * (share - self._mean)
        self._dense = self._dense + 1 if dense else 0
        if self._dense < _PATIENCE and self._mean < _WORTH:
            if self._mean < _WORTH / 2:
                self._pause = _SHORTEST
            self._rests = 0 if share < _WORTH else self._rests
            return 0
        self._rests += 1
        longest = self._longest * (_RARELY if self._rests > _PROVEN else 1)
        pause, self._pause = min(self._pause, longest), min(2 * self._pause, longest)
        self._mean = _WORTH * 0.9  # another chance behind the rest
        self._dense = _PATIENCE - 1 if dense else 0
        return pause


class Parts:
    """Whether computing parts pays: filling the caches costs more than a dense frame, and must be earned back.

    Where it was not, parts are not tried for a while, for longer each time; looking goes on.
    """

    def __init__(self) -> None:
        self._saved = 0.0  # dense frames, since the caches were filled
        self._trying = False
        self._rest = 0
        self._pause = _FIRST_PAUSE

    def may(self) -> bool:
        """Asked once for each frame of which a part has changed."""
        self._rest -= self._rest > 0
        return not self._rest

    def note(self, share: float) -> None:
        """Note a frame that was computed in part, or that filled the caches: its cost in dense ones."""
        self._trying = True
        self._saved += 1 - share

    def end(self) -> None:
        """The caches are of no use any more."""
        if self._trying:
            lost = self._saved < 0
            self._rest = self._pause if lost else 0
            self._pause = min(2 * self._pause, _LONGEST_PAUSE) if lost else _FIRST_PAUSE
        self._trying, self._saved = False, 0.0
