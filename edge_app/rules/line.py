"""line: objects that cross a line, counted by direction."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_app.frame import Event, Frame
from edge_app.geometry.polygons import Float64, line_of
from edge_app.options import Fraction, Point
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import Anchor, Object, ObjectFilter, Objects

_LEAST_PX = 3.0  # boxes tremble by this much, however small the picture
_FORGET_NS = 10_000_000_000  # an object unseen for so long does not come back under its track id


@dataclass(slots=True)
class _Walk:
    """An object's way so far.

    side: where it was last clear of the line, -1 or 1, 0 not yet. crossed: whether its last change of sides since was
    between the line's ends.
    """

    at: Float64
    seen_ns: int
    side: int = 0
    crossed: bool = False


class Rule:
    """Every crossing is an event without duration: `new` and `end` at once, with the counts so far.

    line: two points, 0..1. Seen from the first point towards the second, `in` is from left to right. margin: how far
    an object must get beyond the line to have crossed it, in heights of the picture, and at least 3 pixels: one that
    trembles on the line crosses nothing. direction: which crossings are told of and counted.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        line: tuple[Point, Point],
        labels: tuple[str, ...] = (),
        direction: Literal["both", "in", "out"] = "both",
        anchor: Anchor = "bottom",
        margin: Fraction = 0.01,
        min_score: Fraction = 0.0,
        ignore: tuple[tuple[Point, ...], ...] = (),
    ) -> None:
        self._objects = Objects(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=True)
        self._line = line_of("line", line)
        self._margin, self._direction = margin, direction
        self._ledger = Ledger(context)
        self._name = context.name
        self._counts = {"in": 0, "out": 0}
        self._walks: dict[int, _Walk] = {}

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._objects(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        scale = np.array([frame.width / frame.height, 1.0])  # to heights of the picture
        line = self._line * scale
        margin = max(self._margin, _LEAST_PX / frame.height)
        for o in objects:
            crossing = self._follow(o, np.array(o.anchor) * scale, line, margin, now.ns)
            if crossing is None or self._direction not in ("both", crossing):
                continue
            self._counts[crossing] += 1
            yield from self._ledger.instant(now, {**o.value(), "direction": crossing, **self._counts})
        if any(abs(now.ns - walk.seen_ns) > _FORGET_NS for walk in self._walks.values()):
            self._walks = {k: walk for k, walk in self._walks.items() if abs(now.ns - walk.seen_ns) <= _FORGET_NS}

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._walks.clear()
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        a, b = self._line.tolist()
        text = f"{self._name}: in {self._counts['in']}, out {self._counts['out']}"
        return [Overlay(((a[0], a[1]), (b[0], b[1])), text)]

    def _follow(self, o: Object, at: Float64, line: Float64, margin: float, now_ns: int) -> str | None:
        """Move an object on; returns `in` or `out` where it is now clear of the line on the other side."""
        walk = self._walks.setdefault(o.track_id, _Walk(at, now_ns))
        before, now = _distance(walk.at, line), _distance(at, line)
        if (before < 0) != (now < 0):
            share = before / (before - now)
            walk.crossed = _between_ends(walk.at + share * (at - walk.at), line)
        walk.at, walk.seen_ns = at, now_ns
        if abs(now) < margin:
            return None
        side, before_side = (1 if now > 0 else -1), walk.side
        walk.side = side
        if before_side in (0, side) or not walk.crossed:
            return None
        return "in" if side > 0 else "out"


def _distance(point: Float64, line: Float64) -> float:
    """How far to the right of the line (2, 2) a point (2,) lies; the picture's y axis points down."""
    along = line[1] - line[0]
    offset = point - line[0]
    return float((along[0] * offset[1] - along[1] * offset[0]) / np.hypot(*along))


def _between_ends(point: Float64, line: Float64) -> bool:
    along = line[1] - line[0]
    share = float(np.dot(point - line[0], along) / np.dot(along, along))
    return 0 <= share <= 1
