"""Votes on a reading: what the last frames agree on, digit by digit, and whether it looks like the whole number."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from edge_app.analytics import Moment
from edge_app.analytics._digits import Glyphs
from edge_app.shapes import Float64

_SPARE = 2  # frames of the window that may say something else
_MOST = 600  # frames that are remembered, however long `length_s`
_MAJORITY = 0.8

Look = tuple[tuple[int, ...], bool]  # digits in each row; whether they look whole


@dataclass(frozen=True, slots=True)
class Stable:
    """What the frames agree on. boxes: as `Glyphs` has them, now. since: the first frame of the window that said so."""

    rows: tuple[str, ...]
    boxes: Float64
    confidence: float
    since: Moment


class Votes:
    """The last frames' readings.

    needed: how many must agree. length_ns: for how long most frames must show an unusual number of digits, or digits
    that do not look whole, before that is taken for the number rather than for a part of it.
    """

    def __init__(self, needed: int, length_ns: int) -> None:
        self._needed, self._length_ns = needed, length_ns
        self._window: deque[tuple[Glyphs, Moment]] = deque(maxlen=needed + _SPARE)
        self._usual: Look | None = None
        self._looks: deque[tuple[int, Look]] = deque(maxlen=_MOST)  # since when a frame looked how

    def clear(self) -> None:
        self._window.clear()
        self._looks.clear()
        self._usual = None

    def add(self, glyphs: Glyphs, now: Moment) -> Stable | None:
        """Count a frame. Returns the number that is stable now, where this frame shows as many digits as it has."""
        self._window.append((glyphs, now))
        look = _look(glyphs)
        self._remember(look, now)
        if not len(glyphs) or not self._is_usual(look, now):
            return None
        voters = [(g, at) for g, at in self._window if _look(g)[0] == look[0]]
        votes = [Counter(signs).most_common(1)[0] for signs in zip(*("".join(g.rows) for g, _ in voters))]
        if min(count for _, count in votes) < self._needed:
            return None
        if self._usual is None or look[1] or look[0] != self._usual[0]:
            self._usual = look
        rows = _split("".join(sign for sign, _ in votes), look[0])
        agreement = sum(count for _, count in votes) / (len(votes) * len(voters))
        score = float(np.mean([g.score.mean() for g, _ in voters]))
        since = next(at for g, at in voters if g.rows == rows or g is voters[-1][0])
        return Stable(rows, glyphs.boxes, score * agreement, since)

    def _remember(self, look: Look, now: Moment) -> None:
        looks = self._looks
        if looks and now.ns < looks[-1][0]:  # the clock went back
            looks.clear()
        looks.append((now.ns, look))
        while len(looks) > 1 and looks[1][0] <= now.ns - self._length_ns:  # the first one covers the whole time
            looks.popleft()

    def _is_usual(self, look: Look, now: Moment) -> bool:
        """Whether the digits look as they always do, or most frames have shown them so for long enough."""
        shape, whole = look
        if whole and (self._usual is None or shape == self._usual[0]):
            return True
        if look == self._usual:
            return True
        covered = now.ns - self._looks[0][0] >= self._length_ns or len(self._looks) == _MOST
        share = sum(one == look for _, one in self._looks) / len(self._looks)
        return covered and share >= _MAJORITY


def _split(text: str, lengths: tuple[int, ...]) -> tuple[str, ...]:
    ends = list(accumulate(lengths))
    return tuple(text[end - length : end] for end, length in zip(ends, lengths))


def _look(glyphs: Glyphs) -> Look:
    return tuple(len(row) for row in glyphs.rows), glyphs.whole
