"""Votes on a reading: which number the last frames agree on, digit by digit, and whether it has lasted long enough."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass

import numpy as np

from edge_app.analytics import Moment
from edge_app.analytics._digits import Glyphs

_SPARE = 2  # frames of the window that may say something else


@dataclass(frozen=True, slots=True)
class Stable:
    """What the frames agree on. since: the first frame of the window that said so."""

    glyphs: Glyphs
    confidence: float
    since: Moment


class Votes:
    """The last frames' readings.

    needed: how many must agree. length_ns: how long an unusual number of digits must last.
    """

    def __init__(self, needed: int, length_ns: int) -> None:
        self._needed, self._length_ns = needed, length_ns
        self._window: deque[tuple[Glyphs, Moment]] = deque(maxlen=needed + _SPARE)
        self._shape: tuple[int, ...] | None = None  # digits in each row of what is usual
        self._other: tuple[tuple[int, ...], Moment] | None = None  # another shape, and since when

    def clear(self) -> None:
        self._window.clear()
        self._shape, self._other = None, None

    def add(self, glyphs: Glyphs, now: Moment) -> Stable | None:
        """Count a frame. Returns the number that is stable now, where this frame is one that says it."""
        self._window.append((glyphs, now))
        shape = _shape(glyphs)
        if not glyphs.whole or not self._is_usual(shape, now):
            return None
        voters = [(g, at) for g, at in self._window if g.whole and _shape(g) == shape]
        if len(voters) < self._needed:
            return None
        text = ["".join(g.rows) for g, _ in voters]
        for place, sign in enumerate("".join(glyphs.rows)):
            if Counter(t[place] for t in text)[sign] < self._needed:
                return None
        agreeing = [(g, at) for (g, at), t in zip(voters, text) if t == text[-1]]
        if self._shape is None:
            self._shape = shape
        score = np.mean([g.score for g, _ in agreeing], axis=0)  # (digits,)
        confidence = float(score.mean()) * len(agreeing) / len(voters)
        return Stable(glyphs, confidence, agreeing[0][1])

    def _is_usual(self, shape: tuple[int, ...], now: Moment) -> bool:
        """Whether there are as many digits as usual, or have been as many as now for long enough."""
        if self._shape is None or shape == self._shape:
            self._other = None
            return True
        if self._other is None or self._other[0] != shape:
            self._other = (shape, now)
        if now.ns - self._other[1].ns < self._length_ns:
            return False
        self._shape, self._other = shape, None
        return True


def _shape(glyphs: Glyphs) -> tuple[int, ...]:
    return tuple(len(row) for row in glyphs.rows)
