"""line: counts the objects that cross a line, by direction."""

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
from edge_app.rules._objects import Anchor, Object, ObjectFilter, ObjectSelector

_MIN_MARGIN_PX = 3.0  # boxes jitter by this much, however small the image is
_FORGET_NS = 10_000_000_000  # longer than any track id survives without a detection


@dataclass(slots=True)
class _Path:
    """The movement of an object.

    side: the side of the line, -1 or 1, on which it was last outside the margin; 0: none yet. crossed: whether its last
    change of sides since then was between the ends of the line.
    """

    at: Float64
    detected_ns: int
    side: int = 0
    crossed: bool = False


class Rule:
    """Every crossing is an event without duration: `new` and `end` together, with the counts so far.

    line: two points, 0..1. Looking from the first point to the second, `in` is from left to right. margin: how far
    beyond the line an object must be to have crossed it, relative to the image's height, and at least 3 pixels: an
    object that jitters on the line does not cross it. direction: which crossings are counted and published.
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
        self._selector = ObjectSelector(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=True)
        self._line = line_of("line", line)
        self._margin, self._direction = margin, direction
        self._ledger = Ledger(context)
        self._name = context.name
        self._counts = {"in": 0, "out": 0}
        self._paths: dict[int, _Path] = {}

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._selector.select(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        scale = np.array([frame.width / frame.height, 1.0])  # to units of the image's height
        line = self._line * scale
        margin = max(self._margin, _MIN_MARGIN_PX / frame.height)
        for o in objects:
            crossing = self._move(o, np.array(o.anchor) * scale, line, margin, now.ns)
            if crossing is None or self._direction not in ("both", crossing):
                continue
            self._counts[crossing] += 1
            yield from self._ledger.instant(now, {**o.value(), "direction": crossing, **self._counts})
        if any(abs(now.ns - path.detected_ns) > _FORGET_NS for path in self._paths.values()):
            self._paths = {k: path for k, path in self._paths.items() if abs(now.ns - path.detected_ns) <= _FORGET_NS}

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._paths.clear()
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        a, b = self._line.tolist()
        text = f"{self._name}: in {self._counts['in']}, out {self._counts['out']}"
        return [Overlay(((a[0], a[1]), (b[0], b[1])), text)]

    def _move(self, o: Object, at: Float64, line: Float64, margin: float, now_ns: int) -> str | None:
        """Update the position of an object. Returns `in` or `out` if it has now crossed the line, margin included."""
        path = self._paths.setdefault(o.track_id, _Path(at, now_ns))
        before, now = _distance(path.at, line), _distance(at, line)
        if (before < 0) != (now < 0):
            share = before / (before - now)
            path.crossed = _between_ends(path.at + share * (at - path.at), line)
        path.at, path.detected_ns = at, now_ns
        if abs(now) < margin:
            return None
        side, before_side = (1 if now > 0 else -1), path.side
        path.side = side
        if before_side in (0, side) or not path.crossed:
            return None
        return "in" if side > 0 else "out"


def _distance(point: Float64, line: Float64) -> float:
    """Distance of a point (2,) to the right of the line (2, 2). The y axis points down."""
    along = line[1] - line[0]
    offset = point - line[0]
    return float((along[0] * offset[1] - along[1] * offset[0]) / np.hypot(*along))


def _between_ends(point: Float64, line: Float64) -> bool:
    along = line[1] - line[0]
    share = float(np.dot(point - line[0], along) / np.dot(along, along))
    return 0 <= share <= 1
