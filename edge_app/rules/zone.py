"""zone: objects inside a polygon; one event for each, from entering to leaving, with the number of objects inside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_app.frame import Event, Frame, JsonValue
from edge_app.geometry.polygons import Anchor, inside, polygon_of
from edge_app.options import Fraction, Point, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import Object, ObjectFilter, ObjectSelector


@dataclass(slots=True)
class _Stay:
    entered: Moment
    last: Moment  # last detected inside
    best: Object
    is_inside: bool = True  # in this frame


class Rule:
    """`new` when an object has been inside for `dwell_s`, `end` when it has been outside or undetected for `grace_s`.

    polygon: corners in order, 0..1. anchor: the point of the box that has to be inside; `feet`: of a pose, the mean of
    the ankles that are seen, else `bottom`. The end time of an event is the last detection inside, without `grace_s`.
    `occupancy` in the value counts the objects that have been inside for `dwell_s`.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        polygon: tuple[Point, ...],
        labels: tuple[str, ...] = (),
        anchor: Anchor = "bottom",
        dwell_s: Seconds = 0.0,
        grace_s: Seconds = 1.0,
        update_every_s: Seconds = 5.0,
        min_score: Fraction = 0.0,
        ignore: tuple[tuple[Point, ...], ...] = (),
    ) -> None:
        self._selector = ObjectSelector(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=True)
        self._polygon = polygon_of("polygon", polygon)
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._dwell_ns, self._grace_ns = round(dwell_s * 1e9), round(grace_s * 1e9)
        self._stays: dict[int, _Stay] = {}

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._selector.select(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        self._update_stays(objects, now)
        yield from self._end_stays(now)
        inside = [(track_id, stay) for track_id, stay in self._stays.items() if stay.is_inside]
        new = [track_id for track_id, stay in inside if track_id not in self._ledger and self._has_dwelt(stay)]
        occupancy = len(self._ledger) + len(new)
        for track_id, stay in inside:
            if track_id in self._ledger:
                yield from self._ledger.update(track_id, now, self._value(stay, occupancy))
            elif track_id in new:
                yield self._ledger.begin(track_id, stay.entered, now, self._value(stay, occupancy))

    def finish(self, reason: str, at: Moment) -> list[Event]:
        stays, self._stays = self._stays, {}
        published = [(key, stay) for key, stay in stays.items() if key in self._ledger]
        return [self._ledger.end(key, at, reason, self._value(stay, len(published))) for key, stay in published]

    def state(self) -> dict[str, JsonValue]:
        inside = [self._stays[key].best.label for key in self._stays if key in self._ledger]
        return {"occupancy": len(inside), "labels": dict(Counter(inside))}

    def overlay(self) -> list[Overlay]:
        points = tuple((float(x), float(y)) for x, y in self._polygon)
        return [Overlay(points, f"{self._name}: {len(self._ledger)}", closed=True, alert=len(self._ledger) > 0)]

    def _update_stays(self, objects: list[Object], now: Moment) -> None:
        for stay in self._stays.values():
            stay.is_inside = False
        points = np.array([o.anchor for o in objects]).reshape(-1, 2)
        for o, is_inside in zip(objects, inside(points, self._polygon).tolist()):
            if not is_inside:
                continue
            stay = self._stays.setdefault(o.track_id, _Stay(now, now, o))
            if now.ns < stay.last.ns:  # the clock went back; a stay is never negative
                stay.entered = now
            stay.last, stay.is_inside = now, True
            if o.score > stay.best.score:
                stay.best = o

    def _end_stays(self, now: Moment) -> Iterator[Event]:
        """End the stays of objects that have been outside or undetected for `grace_s`."""
        ended = [
            key for key, stay in self._stays.items() if not stay.is_inside and now.ns - stay.last.ns >= self._grace_ns
        ]
        for track_id in ended:
            stay = self._stays.pop(track_id)
            if track_id in self._ledger:
                yield self._ledger.end(track_id, stay.last, "left", self._value(stay, len(self._ledger) - 1))

    def _has_dwelt(self, stay: _Stay) -> bool:
        return stay.last.ns - stay.entered.ns >= self._dwell_ns

    @staticmethod
    def _value(stay: _Stay, occupancy: int) -> dict[str, JsonValue]:
        dwell_s = max(0, stay.last.ns - stay.entered.ns) / 1e9
        return {**stay.best.value(), "dwell_s": round(dwell_s, 3), "occupancy": occupancy}
