"""Whether reuse pays at the moment, so that where it does not, it costs next to nothing.

Counts what answers have cost, by the cost model, against computing everything. Where frames are dense one after the
other, or partial ones save too little, it says for how many frames not even to look.
"""

from __future__ import annotations

_PATIENCE = 6  # dense frames in a row before the first rest
_SHORTEST = 2  # frames of the first rest
_AFFORDED = 0.008  # of a dense frame, that looking may cost on average where it never pays
_RATE = 1 / 8  # of a frame in the running mean of what reuse costs
_WORTH = 0.95  # of a dense frame: reuse must cost less on average


class Guard:
    """Fed with what every frame that was looked at has cost, as a share of a dense one.

    look: what looking costs, as such a share: the rests are as long as that takes to be afforded.
    """

    def __init__(self, look: float) -> None:
        self._longest = max(_SHORTEST, round(look / _AFFORDED))
        self._dense = 0  # in a row
        self._mean = 0.0
        self._pause = _SHORTEST

    def note(self, share: float, *, dense: bool) -> int:
        """Note a frame's cost. Returns how many frames to compute densely now without looking."""
        self._mean += _RATE * (share - self._mean)
        self._dense = self._dense + 1 if dense else 0
        if self._dense < _PATIENCE and self._mean < _WORTH:
            if self._mean < _WORTH / 2:
                self._pause = _SHORTEST
            return 0
        pause, self._pause = self._pause, min(2 * self._pause, self._longest)
        self._mean = _WORTH * 0.9  # another chance behind the rest
        self._dense = _PATIENCE - 1 if dense else 0
        return pause
