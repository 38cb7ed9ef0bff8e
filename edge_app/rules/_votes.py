"""Votes on a reading: what the last frames agree on, digit by digit, and whether it looks like the whole number."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from edge_app.geometry.polygons import Float64
from edge_app.rules import Moment
from edge_app.rules._digits import Glyphs

_SPARE = 2  # frames of the window that may say something else
_MOST = 600  # frames that are remembered, however long `length_s`
_MAJORITY = 0.8  # of the frames of `length_s`
_STEADY = np.array([1.3, 1.13])  # widest to narrowest, highest to lowest: more is a digit that something moves across
_LOW, _MORE = 0.85, 1  # a digit lower than this, of its row's median, may be half hidden: it needs one more frame
_THERE = 0.3  # of the smaller of two boxes: what they share when they are one place


@dataclass(frozen=True, slots=True)
class DigitFrame:
    """How the digits of a frame look: how many in each row, whether all show, whether they are where they were."""

    lengths: tuple[int, ...]
    whole: bool
    there: bool


@dataclass(frozen=True, slots=True)
class Stable:
    """What the frames agree on. box (4,), 0..1: where, now. since: the first frame of the window that said so.

    confidence: the mean score of the least sure digit, over the frames since then, times their share that agree on it.
    """

    rows: tuple[str, ...]
    box: Float64
    confidence: float
    since: Moment


@dataclass(frozen=True, slots=True)
class _Ballot:
    text: str
    score: Float64
    size: Float64
    look: DigitFrame
    at: Moment


class Votes:
    """The last frames' readings.

    needed: how many must agree. length_ns: for how long most frames must show an unusual number of digits, or digits
    that do not look whole or lie elsewhere, before that is taken for the number rather than for something else.
    """

    def __init__(self, needed: int, length_ns: int) -> None:
        self._needed, self._length_ns = needed, length_ns
        self._window: deque[_Ballot] = deque(maxlen=needed + _MORE + _SPARE)
        self._looks: deque[tuple[int, DigitFrame]] = deque(maxlen=_MOST)  # since when a frame looked how
        self._usual: DigitFrame | None = None
        self.place: Float64 | None = None  # the box of the last stable number, (4,) 0..1

    def clear(self) -> None:
        self._window.clear()
        self._looks.clear()
        self._usual = self.place = None

    def add(self, glyphs: Glyphs, now: Moment) -> Stable | None:
        """Count a frame. Returns the number that is stable now, where this frame shows as many digits as it has."""
        box = glyphs.extent()
        there = box is not None and (self.place is None or _share(box, self.place) >= _THERE)
        look = DigitFrame(tuple(len(row) for row in glyphs.rows), glyphs.whole, there)
        self._window.append(_Ballot("".join(glyphs.rows), glyphs.score, glyphs.sizes(), look, now))
        self._remember(look, now)
        if box is None or not self._is_usual(look, now):
            return None
        signs = [self._elected(place, look, low) for place, low in enumerate(glyphs.sizes()[:, 1] < _LOW)]
        if None in signs:
            return None
        if self._usual is None or look.whole or not self._fits(look):
            self._usual = DigitFrame(look.lengths, look.whole, True)
        self.place = box
        return _stable("".join(sign for sign in signs if sign), self._voters(look, self._needed), box)

    def _elected(self, place: int, look: DigitFrame, low: bool) -> str | None:
        """The digit that enough of the last frames see at a place, of the same size; None where there is none."""
        needed = self._needed + (_MORE if low else 0)
        voters = self._voters(look, needed)
        sign, count = Counter(ballot.text[place] for ballot in voters).most_common(1)[0]
        sizes = [ballot.size[place] for ballot in voters if ballot.text[place] == sign]
        return sign if count >= needed and _steady(np.array(sizes[-needed:])) else None

    def _voters(self, look: DigitFrame, needed: int) -> list[_Ballot]:
        """Of the last frames those that show as many digits at this place, and as completely."""
        recent = list(self._window)[-(needed + _SPARE) :]
        return [b for b in recent if b.look == look or (b.look.lengths == look.lengths and self._fits(b.look))]

    def _remember(self, look: DigitFrame, now: Moment) -> None:
        looks = self._looks
        if looks and now.ns < looks[-1][0]:  # the clock went back
            looks.clear()
        looks.append((now.ns, look))
        while len(looks) > 1 and looks[1][0] <= now.ns - self._length_ns:  # the first one covers the whole time
            looks.popleft()

    def _is_usual(self, look: DigitFrame, now: Moment) -> bool:
        """Whether the digits look as they always do, or most frames have shown them so for long enough."""
        if self._fits(look):
            return True
        covered = now.ns - self._looks[0][0] >= self._length_ns or len(self._looks) == _MOST
        share = sum(one == look for _, one in self._looks) / len(self._looks)
        return covered and share >= _MAJORITY

    def _fits(self, look: DigitFrame) -> bool:
        if self._usual is None:
            return look.whole
        return look.there and look.lengths == self._usual.lengths and (look.whole or not self._usual.whole)


def _steady(sizes: Float64) -> bool:
    """Whether sizes (N, 2) of a digit are the same in all frames."""
    return bool((sizes.max(axis=0) <= _STEADY * sizes.min(axis=0)).all())


def _stable(text: str, voters: list[_Ballot], box: Float64) -> Stable:
    first = next((i for i, ballot in enumerate(voters) if ballot.text == text), 0)
    heard = voters[first:]
    sure = [
        float(np.mean([b.score[i] for b in heard if b.text[i] == sign])) * sum(b.text[i] == sign for b in heard)
        for i, sign in enumerate(text)
    ]
    ends = list(accumulate(voters[-1].look.lengths))
    rows = tuple(text[end - length : end] for end, length in zip(ends, voters[-1].look.lengths))
    return Stable(rows, box, min(sure) / len(heard), heard[0].at)


def _share(a: Float64, b: Float64) -> float:
    """What two boxes (4,) share, of the smaller one's area."""
    side = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return float(np.prod(side) / max(smaller, 1e-12))
