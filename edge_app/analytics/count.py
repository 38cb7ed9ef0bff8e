"""count: how many objects are in the picture, or in a part of it; an event while there are enough of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from edge_app.analytics import Moment, Overlay, RuleContext
from edge_app.analytics._ledger import Ledger
from edge_app.analytics._objects import Anchor, Look, Objects
from edge_app.frame import Event, Frame, JsonValue
from edge_app.options import Fraction, Point, Positive, Seconds
from edge_app.shapes import inside, polygon_of

_KEY = "count"


class Rule:
    """`new` when `at_least` objects are there, `update` when their number changes, `end` when there are fewer.

    A number counts once it has stood for `stable_s`. polygon: only what has its anchor inside; all without one.
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
        self._objects = Objects(context, Look(head, labels, min_score, anchor, ignore), tracked=False)
        self._polygon = None if polygon is None else polygon_of("polygon", polygon)
        self._at_least = at_least
        self._stable_ns, self._every_ns = round(stable_s * 1e9), round(update_every_s * 1e9)
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._counted: dict[str, int] = {}  # what is believed
        self._told: dict[str, int] = {}
        self._seen: dict[str, int] = {}  # what the frames say, since when
        self._since: Moment | None = None

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._objects(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        if self._polygon is not None:
            points = np.array([o.anchor for o in objects]).reshape(-1, 2)
            objects = [o for o, is_inside in zip(objects, inside(points, self._polygon).tolist()) if is_inside]
        seen = dict(sorted(Counter(o.label for o in objects).items()))
        if self._since is None or seen != self._seen or now.ns < self._since.ns:
            self._seen, self._since = seen, now
        if now.ns - self._since.ns >= self._stable_ns:
            self._counted = seen
        yield from self._tell(self._since, now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._counted, self._seen, self._since = {}, {}, None
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        corners = () if self._polygon is None else tuple((float(x), float(y)) for x, y in self._polygon)
        text = f"{self._name}: {sum(self._counted.values())}"
        return [Overlay(corners, text, closed=True, alert=len(self._ledger) > 0)]

    def _tell(self, since: Moment, now: Moment) -> Iterator[Event]:
        count = sum(self._counted.values())
        value: dict[str, JsonValue] = {"count": count, "labels": dict(self._counted)}
        if _KEY not in self._ledger:
            if count >= self._at_least:
                self._told = self._counted
                yield self._ledger.begin(_KEY, since, now, value)
        elif count < self._at_least:
            yield self._ledger.end(_KEY, since, "fewer", value)
        elif self._counted != self._told:
            said = self._ledger.update(_KEY, now, value)
            if said or not self._every_ns:
                self._told = self._counted
            yield from said
