"""count: the number of objects in the image or in a polygon; an event while there are enough of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from statistics import median_low

import numpy as np

from edge_app.frame import Event, Frame, JsonValue
from edge_app.geometry.polygons import Anchor, inside, polygon_of
from edge_app.options import Fraction, Point, Positive, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import ObjectFilter, ObjectSelector

_KEY = "count"
_MAX_FRAMES = 300  # in the history, however long `stable_s` is


class Rule:
    """`new` when there are `at_least` objects, `update` when their number changes, `end` when there are fewer.

    The number is the median of the last `stable_s`, so that a single missed detection changes nothing. polygon: count
    only objects with their anchor inside. anchor: as of `zone`.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        labels: tuple[str, ...] = (),
        polygon: tuple[Point, ...] | None = None,
        at_least: Positive = 1,
        anchor: Anchor = "bottom",
        stable_s: Seconds = 0.5,
        update_every_s: Seconds = 1.0,
        min_score: Fraction = 0.0,
        ignore: tuple[tuple[Point, ...], ...] = (),
    ) -> None:
        self._selector = ObjectSelector(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=False)
        self._polygon = None if polygon is None else polygon_of("polygon", polygon)
        self._at_least = at_least
        self._stable_ns, self._every_ns = round(stable_s * 1e9), round(update_every_s * 1e9)
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._history: deque[tuple[Moment, Counter[str]]] = deque(maxlen=_MAX_FRAMES)  # of the last stable_s
        self._counted: dict[str, int] = {}
        self._published: dict[str, int] = {}

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._selector.select(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        if self._polygon is not None:
            points = np.array([o.anchor for o in objects]).reshape(-1, 2)
            objects = [o for o, is_inside in zip(objects, inside(points, self._polygon).tolist()) if is_inside]
        self._update_counts(Counter(o.label for o in objects), now)
        yield from self._events(now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._history.clear()
        self._counted = {}
        return self._ledger.finish(reason, at)

    def state(self) -> dict[str, JsonValue]:
        count = sum(self._counted.values())
        return {"count": count, "reached": len(self._ledger) > 0, "labels": dict(self._counted)}

    def overlay(self) -> list[Overlay]:
        corners = () if self._polygon is None else tuple((float(x), float(y)) for x, y in self._polygon)
        text = f"{self._name}: {sum(self._counted.values())}"
        return [Overlay(corners, text, closed=True, alert=len(self._ledger) > 0)]

    def _update_counts(self, counts: Counter[str], now: Moment) -> None:
        """Add the counts of a frame. The median is updated once the history covers `stable_s`."""
        window = self._history
        if window and now.ns < window[-1][0].ns:  # the clock went back
            window.clear()
        window.append((now, counts))
        while len(window) > 1 and window[1][0].ns <= now.ns - self._stable_ns:  # the rest covers stable_s
            window.popleft()
        if now.ns - window[0][0].ns >= self._stable_ns or len(window) == _MAX_FRAMES:
            labels = sorted({label for _, counter in window for label in counter})
            middle = {label: median_low(counter[label] for _, counter in window) for label in labels}
            self._counted = {label: count for label, count in middle.items() if count}

    def _since(self, enough: bool) -> Moment:
        """The first frame of the history with enough objects, or with too few."""
        return next((at for at, c in self._history if (c.total() >= self._at_least) is enough), self._history[-1][0])

    def _events(self, now: Moment) -> Iterator[Event]:
        count = sum(self._counted.values())
        value: dict[str, JsonValue] = {"count": count, "labels": dict(self._counted)}
        if _KEY not in self._ledger:
            if count >= self._at_least:
                self._published = self._counted
                yield self._ledger.begin(_KEY, self._since(True), now, value)
        elif count < self._at_least:
            yield self._ledger.end(_KEY, self._since(False), "fewer", value)
        elif self._counted != self._published:
            updates = self._ledger.update(_KEY, now, value)
            if updates or not self._every_ns:
                self._published = self._counted
            yield from updates
