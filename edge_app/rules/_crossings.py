"""When an object has crossed a line: its side, the margin, the confirmation, and people who hid one another.

Distances are in units of the image's height. Not here: options, events and counts (line.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edge_app.rules import Moment, Point
from edge_app.rules._objects import Box, Object

_LEAST_DETECTIONS = 2  # beyond the line: one may be an outlier
_HIDDEN = 0.5  # an object that showed less than this share of its later box was half-hidden
_SEPARATE = 0.5  # two boxes that share less than this part of the smaller one are two objects
_WAIT_NS = 1_000_000_000  # for a merged box to separate, and for a companion to leave the object that hid it
_FORGET_NS = 10_000_000_000  # longer than any track id survives without a detection


@dataclass(frozen=True, slots=True)
class Gate:
    """A line from start to end, and what counts as crossing it.

    margin: relative to the object's height; at least `least_margin`. aspect: width of the image / height.
    """

    start: Point
    end: Point
    margin: float
    least_margin: float
    confirm_ns: int
    aspect: float

    def distance(self, point: Point) -> float:
        """Distance of a point, 0..1, to the right of the line, looking from start to end. The y axis points down."""
        along_x, along_y, x, y = self._vectors(point)
        return (along_x * y - along_y * x) / math.hypot(along_x, along_y)

    def is_between_ends(self, point: Point) -> bool:
        along_x, along_y, x, y = self._vectors(point)
        return 0 <= along_x * x + along_y * y <= along_x * along_x + along_y * along_y

    def margin_of(self, box: Box) -> float:
        return max(self.margin * (box[3] - box[1]), self.least_margin)

    def _vectors(self, point: Point) -> tuple[float, float, float, float]:
        """From the start of the line to its end, and to the point; in heights of the image."""
        (x, y), (end_x, end_y) = self.start, self.end
        return (end_x - x) * self.aspect, end_y - y, (point[0] - x) * self.aspect, point[1] - y


@dataclass(frozen=True, slots=True)
class Crossing:
    """A confirmed crossing. side: the new one: 1 to the right of the line, else -1. at: first detected beyond it."""

    object: Object
    side: int
    at: Moment


@dataclass(slots=True)
class _Path:
    """The movement of an object.

    side: the side that it came from, -1 or 1; 0: not known. reach: its greatest distance from the line there. area: its
    largest box there. turned: when it was first detected after its last change of sides; between_ends: whether that was
    between the ends of the line. beyond: the number of detections beyond the margin since then; least_area: the
    smallest of their boxes; last: the last of them. crossed: when it crossed the line for the last time.
    """

    at: Point
    box: Box
    detected: Moment
    turned: Moment
    between_ends: bool = False
    side: int = 0
    reach: float = 0.0
    area: float = 0.0
    beyond: int = 0
    least_area: float = 0.0
    last: Object | None = None
    crossed: Moment | None = None
    leader: _Leader | None = None

    def move(self, o: Object, now: Moment, gate: Gate) -> Crossing | None:
        """Update the position. Returns a crossing when it is confirmed."""
        before, distance = gate.distance(self.at), gate.distance(o.anchor)
        if (before < 0) != (distance < 0):
            share = before / (before - distance)
            (x1, y1), (x2, y2) = self.at, o.anchor
            self.between_ends = gate.is_between_ends((x1 + share * (x2 - x1), y1 + share * (y2 - y1)))
            self.turned, self.beyond = now, 0
        if now.ns < self.detected.ns:  # the clock went back
            self.turned, self.beyond = now, 0
        self.at, self.box, self.detected = o.anchor, o.box, now
        side, reach, area = (-1 if distance < 0 else 1), abs(distance), _area(o.box)
        if side == self.side or (not self.side and reach >= gate.least_margin):
            self.side, self.reach, self.area = side, max(self.reach, reach), max(self.area, area)
        margin = gate.margin_of(o.box)
        if side == self.side or reach < max(margin, 2 * margin - self.reach):
            return None
        self.least_area = min(self.least_area, area) if self.beyond else area
        self.beyond, self.last = self.beyond + 1, o
        waited_ns = now.ns - self.turned.ns
        # Its box may contain another object for a moment: that is no reason to have been half-hidden.
        if waited_ns < gate.confirm_ns or (self.was_hidden and waited_ns < _WAIT_NS):
            return None
        return self.settle()

    @property
    def was_hidden(self) -> bool:
        """Whether all boxes beyond the line are much larger than all boxes before it."""
        return self.area < _HIDDEN * self.least_area

    def settle(self) -> Crossing | None:
        """Accept the new side, after enough detections there. Returns the crossing, if it is one."""
        if self.beyond < _LEAST_DETECTIONS or self.last is None:
            return None
        crossed = self.between_ends and not self.was_hidden
        self.side, self.reach, self.area, self.beyond = -self.side, 0.0, _area(self.box), 0
        if not crossed:
            return None
        self.crossed = self.turned
        return Crossing(self.last, self.side, self.turned)


@dataclass(frozen=True, slots=True)
class _Leader:
    """The object behind which another one appeared, right after it had passed the line: they may have crossed together.

    first: when the other object appeared, at this distance from the line.
    """

    track_id: int
    first: Moment
    distance: float


class Paths:
    """The paths of all objects, by track id."""

    def __init__(self) -> None:
        self._paths: dict[int, _Path] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def finish(self) -> list[Crossing]:
        """Forget all objects. Returns the crossings of those that were detected twice beyond the line, unconfirmed."""
        paths, self._paths = self._paths, {}
        return [crossing for path in paths.values() if (crossing := path.settle()) is not None]

    def move(self, objects: Sequence[Object], gate: Gate, now: Moment) -> Iterator[Crossing]:
        """Update the positions. Yields crossings when they are confirmed."""
        new = {o.track_id: self._leader(o, objects, gate, now) for o in objects if o.track_id not in self._paths}
        for o in objects:
            path = self._paths.get(o.track_id)
            if path is None:
                path = self._paths[o.track_id] = _Path(o.anchor, o.box, now, now, leader=new[o.track_id])
            crossing = path.move(o, now, gate)
            if crossing is not None:
                yield crossing
        for o in objects:
            path = self._paths[o.track_id]
            if path.leader is not None:
                yield from self._follow(o, path, path.leader, gate)
        yield from self._settle_absent(now)

    def _settle_absent(self, now: Moment) -> Iterator[Crossing]:
        """Confirm the crossings of objects that have left the image beyond the line, and forget old paths."""
        forgotten = []
        for track_id, path in self._paths.items():
            absent_ns = now.ns - path.detected.ns
            if absent_ns >= _WAIT_NS and path.beyond >= _LEAST_DETECTIONS and (crossing := path.settle()) is not None:
                yield crossing
            if abs(absent_ns) > _FORGET_NS:
                forgotten.append(track_id)
        for track_id in forgotten:
            del self._paths[track_id]

    def _leader(self, o: Object, objects: Sequence[Object], gate: Gate, now: Moment) -> _Leader | None:
        """The object whose box contained a new object, if it has just passed the line to the side of that object."""
        distance = gate.distance(o.anchor)
        visible = {other.track_id for other in objects}
        best, best_shared = None, 0.0
        for track_id, path in self._paths.items():
            if not path.between_ends or not 0 <= now.ns - path.turned.ns <= _WAIT_NS:
                continue
            if (gate.distance(path.at) < 0) != (distance < 0):
                continue
            if track_id not in visible:  # the new object is probably this one, with another id
                return None
            shared = _shared(path.box, o.box)
            if shared > best_shared:
                best, best_shared = _Leader(track_id, now, distance), shared
        return best

    def _follow(self, o: Object, path: _Path, leader: _Leader, gate: Gate) -> Iterator[Crossing]:
        """Yield a crossing if the object has left its leader and moved on, away from the line."""
        ahead, now = self._paths.get(leader.track_id), path.detected
        if ahead is None or not 0 <= now.ns - leader.first.ns <= _WAIT_NS or path.side * leader.distance < 0:
            path.leader = None
            return
        moved = abs(gate.distance(path.at)) - abs(leader.distance)
        if ahead.detected != now or ahead.crossed is None or ahead.side != path.side:
            return
        if now.ns - leader.first.ns < gate.confirm_ns or moved < gate.margin_of(path.box):
            return
        if _shared(ahead.box, path.box) < _SEPARATE:
            path.leader, path.crossed = None, ahead.crossed
            yield Crossing(o, path.side, ahead.crossed)


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])


def _shared(a: Box, b: Box) -> float:
    """The intersection of two boxes as a share of the smaller one."""
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    return max(width, 0.0) * max(height, 0.0) / max(min(_area(a), _area(b)), 1e-12)
