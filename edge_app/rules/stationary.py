"""stationary: objects that stay in one place; one event each, even if its track id changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from edge_app.frame import Event, Frame, JsonValue
from edge_app.geometry.polygons import Anchor
from edge_app.options import Fraction, Point, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import Box, Object, ObjectFilter, ObjectSelector

_MAX_PLACES = 500  # more than fit in an image
_BOX_UPDATE_RATE = 0.02  # weight of a new box: follows slow changes of light, but not a walking person


@dataclass(slots=True)
class _Place:
    """The place of a stationary object. from_start: it was there when the rule started."""

    key: int
    track_id: int
    box: Box
    since: Moment
    last: Moment
    best: Object
    from_start: bool


class Rule:
    """`new` when an object has stayed for `after_s`, `end` when it has moved away or was undetected for `grace_s`.

    overlap: the least IoU of an object with its place. An object that returns within `grace_s`, or another track id at
    the same place, continues the stay: a flickering false positive causes one event. start_s: objects that appear
    within this time after the start have `from_start` set.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        labels: tuple[str, ...] = (),
        after_s: Seconds = 10.0,
        grace_s: Seconds = 10.0,
        start_s: Seconds = 2.0,
        overlap: Fraction = 0.6,
        anchor: Anchor = "bottom",
        min_score: Fraction = 0.0,
        ignore: tuple[tuple[Point, ...], ...] = (),
    ) -> None:
        self._selector = ObjectSelector(context, ObjectFilter(head, labels, min_score, anchor, ignore), tracked=True)
        self._ledger = Ledger(context)
        self._name, self._overlap = context.name, overlap
        self._after_ns, self._grace_ns, self._start_ns = (round(s * 1e9) for s in (after_s, grace_s, start_s))
        self._places: dict[int, _Place] = {}
        self._count = 0
        self._first_ns: int | None = None

    def step(self, frame: Frame) -> Iterator[Event]:
        objects = self._selector.select(frame)
        if objects is None:
            return
        now = Moment.of(frame)
        self._first_ns = now.ns if self._first_ns is None else self._first_ns
        unmatched = dict(self._places)
        for o in objects:
            place = self._place_of(o, unmatched)
            if place is None:
                self._add_place(o, now)
            else:
                del unmatched[place.key]
                yield from self._update_place(place, o, now)
        yield from self._end_stays(unmatched, objects, now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        places, self._places, self._first_ns = self._places, {}, None
        published = [(key, place) for key, place in places.items() if key in self._ledger]
        return [self._ledger.end(key, at, reason, self._value(place)) for key, place in published]

    def state(self) -> dict[str, JsonValue]:
        staying = [place.best.label for place in self._places.values() if place.key in self._ledger]
        return {"count": len(staying), "labels": dict(Counter(staying))}

    def overlay(self) -> list[Overlay]:
        published = [place for place in self._places.values() if place.key in self._ledger]
        return [Overlay(_corners(place.box), self._name, closed=True, alert=True) for place in published]

    def _place_of(self, o: Object, places: dict[int, _Place]) -> _Place | None:
        """The place that the object is at: that of its track id, else one of its class that it overlaps."""
        same = [place for place in places.values() if place.best.label == o.label]
        own = next((place for place in same if place.track_id == o.track_id), None)
        if own is not None and iou(o.box, own.box) >= self._overlap:
            return own
        best = max(same, key=lambda place: iou(o.box, place.box), default=None)
        return best if best is not None and iou(o.box, best.box) >= self._overlap else None

    def _add_place(self, o: Object, now: Moment) -> None:
        if len(self._places) < _MAX_PLACES:
            self._count += 1
            assert self._first_ns is not None
            from_start = now.ns - self._first_ns <= self._start_ns
            self._places[self._count] = _Place(self._count, o.track_id, o.box, now, now, o, from_start)

    def _update_place(self, place: _Place, o: Object, now: Moment) -> Iterator[Event]:
        if now.ns < place.last.ns:  # the clock went back
            place.since = now
        place.last, place.track_id = now, o.track_id
        x1, y1, x2, y2 = (old + _BOX_UPDATE_RATE * (new - old) for old, new in zip(place.box, o.box))
        place.box = (x1, y1, x2, y2)
        if o.score > place.best.score:
            place.best = o
        if place.key not in self._ledger and now.ns - place.since.ns >= self._after_ns:
            yield self._ledger.begin(place.key, place.since, now, self._value(place))

    def _end_stays(self, unmatched: dict[int, _Place], objects: list[Object], now: Moment) -> Iterator[Event]:
        detected = {o.track_id for o in objects}
        for key, place in unmatched.items():
            moved = place.track_id in detected
            if not moved and now.ns - place.last.ns < self._grace_ns:
                continue
            del self._places[key]
            if key in self._ledger:
                yield self._ledger.end(key, place.last, "moved" if moved else "gone", self._value(place))

    @staticmethod
    def _value(place: _Place) -> dict[str, JsonValue]:
        stayed_s = max(0, place.last.ns - place.since.ns) / 1e9
        return {**place.best.value(), "stayed_s": round(stayed_s, 3), "from_start": place.from_start}


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes (x1, y1, x2, y2)."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    overlap = max(width, 0.0) * max(height, 0.0)
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - overlap
    return overlap / union if union > 0 else 0.0


def _corners(box: Box) -> tuple[Point, ...]:
    x1, y1, x2, y2 = box
    return ((x1, y1), (x2, y1), (x2, y2), (x1, y2))
