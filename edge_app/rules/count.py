"""count: how many objects are in the picture, or in a part of it; an event while there are enough of them."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator
from statistics import median_low

import numpy as np

from edge_app.frame import Event, Frame, JsonValue
from edge_app.geometry.polygons import inside, polygon_of
from edge_app.options import Fraction, Point, Positive, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import Anchor, ObjectFilter, Objects

_KEY = "count"
_MOST = 300  # frames that are remembered, however long `stable_s`


class Rule:
    """`new` when `at_least` objects are there, `update` when their number changes, `end` when there are fewer.

    What counts is the median of the last `stable_s`, so that one missed box changes nothing. polygon: only what has its
    anchor inside; all without one.
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
        self._objects = Objects(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=False)
        self._polygon = None if polygon is None else polygon_of("polygon", polygon)
        self._at_least = at_least
        self._stable_ns, self._every_ns = round(stable_s * 1e9), round(update_every_s * 1e9)
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._seen: deque[tuple[Moment, Counter[str]]] = deque(maxlen=_MOST)  # the last stable_s
        self._counted: dict[str, int] = {}
        self._told: dict[str, int] = {}

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._objects(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        if self._polygon is not None:
            points = np.array([o.anchor for o in objects]).reshape(-1, 2)
            objects = [o for o, is_inside in zip(objects, inside(points, self._polygon).tolist()) if is_inside]
        self._note(Counter(o.label for o in objects), now)
        yield from self._tell(now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._seen.clear()
        self._counted = {}
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        corners = () if self._polygon is None else tuple((float(x), float(y)) for x, y in self._polygon)
        text = f"{self._name}: {sum(self._counted.values())}"
        return [Overlay(corners, text, closed=True, alert=len(self._ledger) > 0)]

    def _note(self, seen: Counter[str], now: Moment) -> None:
        """Take in a frame; what is believed follows once the time is covered."""
        window = self._seen
        if window and now.ns < window[-1][0].ns:  # the clock went back
            window.clear()
        window.append((now, seen))
        while len(window) > 1 and window[1][0].ns <= now.ns - self._stable_ns:  # the first one covers the whole time
            window.popleft()
        if now.ns - window[0][0].ns >= self._stable_ns or len(window) == _MOST:
            labels = sorted({label for _, counter in window for label in counter})
            middle = {label: median_low(counter[label] for _, counter in window) for label in labels}
            self._counted = {label: count for label, count in middle.items() if count}

    def _since(self, enough: bool) -> Moment:
        """When the frames began to say that there are enough, or not."""
        return next((at for at, c in self._seen if (c.total() >= self._at_least) is enough), self._seen[-1][0])

    def _tell(self, now: Moment) -> Iterator[Event]:
        count = sum(self._counted.values())
        value: dict[str, JsonValue] = {"count": count, "labels": dict(self._counted)}
        if _KEY not in self._ledger:
            if count >= self._at_least:
                self._told = self._counted
                yield self._ledger.begin(_KEY, self._since(True), now, value)
        elif count < self._at_least:
            yield self._ledger.end(_KEY, self._since(False), "fewer", value)
        elif self._counted != self._told:
            said = self._ledger.update(_KEY, now, value)
            if said or not self._every_ns:
                self._told = self._counted
            yield from said
