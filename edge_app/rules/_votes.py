"""Majority vote on a number: the digits that the last frames agree on, and whether they are the whole number."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from edge_app.geometry.polygons import Float64
from edge_app.rules import Moment
from edge_app.rules._digits import Glyphs

_SPARE = 2  # frames of the window that may disagree
_MAX_FRAMES = 600  # in the history, however long `length_s` is
_MAJORITY = 0.8  # of the frames of `length_s`
_MAX_SIZE_RATIO = np.array([1.3, 1.13])  # of a digit's widths and heights; beyond it, something moves across it
_LOW_RATIO = 0.85  # to the median height; a lower digit may be half hidden
_LOW_EXTRA = 1  # further frames that must agree on a low digit
_SAME_PLACE = 0.3  # overlap of two boxes at the same place, relative to the smaller one


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of the digits of a frame.

    lengths: digits in each row. whole: whether none is hidden. in_place: whether they are where the last number was.
    """

    lengths: tuple[int, ...]
    whole: bool
    in_place: bool


@dataclass(frozen=True, slots=True)
class Stable:
    """A number that enough frames agree on.

    box: (4,), 0..1, in the last frame. since: the first frame of the window with this number. confidence: of the least
    certain digit: its mean score since then, times the share of frames that agree on it.
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
    layout: Layout
    at: Moment


class Votes:
    """The votes of the last frames.

    needed: frames that must agree. length_ns: a layout other than the usual one (another number of digits, a hidden
    digit, another place) counts only if most frames have had it for this long.
    """

    def __init__(self, needed: int, length_ns: int) -> None:
        self._needed, self._length_ns = needed, length_ns
        self._window: deque[_Ballot] = deque(maxlen=needed + _LOW_EXTRA + _SPARE)
        self._layouts: deque[tuple[int, Layout]] = deque(maxlen=_MAX_FRAMES)  # time and layout of the last frames
        self._usual: Layout | None = None
        self.last_box: Float64 | None = None  # the box of the last stable number, (4,) 0..1

    def clear(self) -> None:
        self._window.clear()
        self._layouts.clear()
        self._usual = self.last_box = None

    def add(self, glyphs: Glyphs, now: Moment) -> Stable | None:
        """Add a frame. Returns the stable number, if there is one and this frame has the same number of digits."""
        box = glyphs.bounds()
        in_place = box is not None and (self.last_box is None or _overlap(box, self.last_box) >= _SAME_PLACE)
        layout = Layout(tuple(len(row) for row in glyphs.rows), glyphs.whole, in_place)
        self._window.append(_Ballot("".join(glyphs.rows), glyphs.score, glyphs.sizes(), layout, now))
        self._remember(layout, now)
        if box is None or not self._is_usual(layout, now):
            return None
        digits = [self._majority_digit(i, layout, low) for i, low in enumerate(glyphs.sizes()[:, 1] < _LOW_RATIO)]
        if None in digits:
            return None
        if self._usual is None or layout.whole or not self._fits(layout):
            self._usual = Layout(layout.lengths, layout.whole, True)
        self.last_box = box
        return _stable("".join(digit for digit in digits if digit), self._voters(layout, self._needed), box)

    def _majority_digit(self, position: int, layout: Layout, low: bool) -> str | None:
        """The digit that enough of the last frames have at a position, with the same size, or None."""
        needed = self._needed + (_LOW_EXTRA if low else 0)
        voters = self._voters(layout, needed)
        digit, count = Counter(ballot.text[position] for ballot in voters).most_common(1)[0]
        sizes = [ballot.size[position] for ballot in voters if ballot.text[position] == digit]
        return digit if count >= needed and _same_size(np.array(sizes[-needed:])) else None

    def _voters(self, layout: Layout, needed: int) -> list[_Ballot]:
        """The last frames with the same layout, or with the same row lengths and the usual layout."""
        recent = list(self._window)[-(needed + _SPARE) :]
        return [
            ballot
            for ballot in recent
            if ballot.layout == layout or (ballot.layout.lengths == layout.lengths and self._fits(ballot.layout))
        ]

    def _remember(self, layout: Layout, now: Moment) -> None:
        layouts = self._layouts
        if layouts and now.ns < layouts[-1][0]:  # the clock went back
            layouts.clear()
        layouts.append((now.ns, layout))
        while len(layouts) > 1 and layouts[1][0] <= now.ns - self._length_ns:  # the rest covers length_ns
            layouts.popleft()

    def _is_usual(self, layout: Layout, now: Moment) -> bool:
        """Whether the layout fits the usual one, or most frames have had it for length_ns."""
        if self._fits(layout):
            return True
        covered = now.ns - self._layouts[0][0] >= self._length_ns or len(self._layouts) == _MAX_FRAMES
        share = sum(one == layout for _, one in self._layouts) / len(self._layouts)
        return covered and share >= _MAJORITY

    def _fits(self, layout: Layout) -> bool:
        if self._usual is None:
            return layout.whole
        return layout.in_place and layout.lengths == self._usual.lengths and (layout.whole or not self._usual.whole)


def _same_size(sizes: Float64) -> bool:
    """Whether a digit has nearly the same size in all frames. sizes: (N, 2)."""
    return bool((sizes.max(axis=0) <= _MAX_SIZE_RATIO * sizes.min(axis=0)).all())


def _stable(text: str, voters: list[_Ballot], box: Float64) -> Stable:
    first = next((i for i, ballot in enumerate(voters) if ballot.text == text), 0)
    agreeing = voters[first:]
    confidences = [
        float(np.mean([b.score[i] for b in agreeing if b.text[i] == digit])) * sum(b.text[i] == digit for b in agreeing)
        for i, digit in enumerate(text)
    ]
    ends = list(accumulate(voters[-1].layout.lengths))
    rows = tuple(text[end - length : end] for end, length in zip(ends, voters[-1].layout.lengths))
    return Stable(rows, box, min(confidences) / len(agreeing), agreeing[0].at)


def _overlap(a: Float64, b: Float64) -> float:
    """The intersection of two boxes (4,), relative to the area of the smaller one."""
    side = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    smaller = min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2]))
    return float(np.prod(side) / max(smaller, 1e-12))
