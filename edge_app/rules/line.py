"""line: counts the objects that cross a line, by direction."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from edge_app.frame import Event, Frame, JsonValue
from edge_app.geometry.polygons import Anchor, line_of
from edge_app.options import Fraction, Point, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._crossings import Crossing, Gate, Paths
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import ObjectFilter, ObjectSelector

_MIN_MARGIN_PX = 3.0  # boxes jitter by this much, however small the object is


class Rule:
    """Every crossing is an event without duration: `new` and `end` together, with the counts so far.

    line: two points, 0..1. Looking from the first point to the second, `in` is from left to right. margin: how far
    beyond the line an object must be to have crossed it, relative to its own height, and at least 3 pixels: an object
    that jitters on the line does not cross it. confirm_s: how long it must stay beyond the margin, in at least two
    frames: one wrong box is not a crossing. The time of the event is that of the crossing, not of its confirmation.
    An object that was half-hidden until it appeared beyond the line has not crossed it. An object that was hidden by
    another one while both crossed has. direction: which crossings are counted and published. anchor: as of `zone`.
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
        margin: Fraction = 0.07,
        confirm_s: Seconds = 0.3,
        min_score: Fraction = 0.0,
        ignore: tuple[tuple[Point, ...], ...] = (),
    ) -> None:
        self._selector = ObjectSelector(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=True)
        line_of("line", line)
        self._line = line
        self._margin, self._confirm_ns, self._direction = margin, round(confirm_s * 1e9), direction
        self._ledger = Ledger(context)
        self._name = context.name
        self._counts = {"in": 0, "out": 0}
        self._by_label: dict[str, dict[str, int]] = {}
        self._paths = Paths()

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._selector.select(frame)
        if objects is None:
            return
        least_margin, aspect = _MIN_MARGIN_PX / frame.height, frame.width / frame.height
        gate = Gate(*self._line, self._margin, least_margin, self._confirm_ns, aspect)
        for crossing in self._paths.move(objects, gate, Moment.of(frame)):
            yield from self._publish(crossing)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        crossings = [event for crossing in self._paths.finish() for event in self._publish(crossing)]
        return crossings + self._ledger.finish(reason, at)

    def state(self) -> dict[str, JsonValue]:
        return {**self._counts, "labels": {label: dict(counts) for label, counts in self._by_label.items()}}

    def overlay(self) -> list[Overlay]:
        text = f"{self._name}: in {self._counts['in']}, out {self._counts['out']}"
        return [Overlay(self._line, text)]

    def _publish(self, crossing: Crossing) -> list[Event]:
        direction = "in" if crossing.side > 0 else "out"
        if self._direction not in ("both", direction):
            return []
        self._counts[direction] += 1
        self._by_label.setdefault(crossing.object.label, {"in": 0, "out": 0})[direction] += 1
        return self._ledger.instant(crossing.at, {**crossing.object.value(), "direction": direction, **self._counts})
