"""The rolling refresh: renews the cached maps tile by tile, so that no frame has to be computed in full for that.

A round goes through the segments in order. In each it computes all tiles, with their whole receptive field, the most
doubtful first. Each frame earns a share of a dense frame's cost, and a tile runs once its cost is saved up. After a
change ends, a round covers the doubtful tiles only. A tile that differs from the cached values makes those tiles of
later segments doubtful. If the maps are old, a round is complete before the maximum age, whatever it costs.
Not here: what is doubtful (doubts.py), running tiles (feature_cache.py).
"""

from __future__ import annotations

import math
from itertools import pairwise

from edge_app.reuse.costs import Cost
from edge_app.reuse.dirty_rects import Box
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.segments import Segment

_ROUND_FRAMES = 24  # changed frames from the start of a round to that of the next, at least
_STILL_FRAMES = 2  # unchanged frames in a row after which a round begins
_STILL_FACTOR = 10  # times the share of a changed frame: an unchanged frame takes no other time
_START, _DONE = 0.7, 0.97  # of the allowed age: when the first and the last tile are computed, without regard to cost
_MAX_SAVED = 0.5  # dense frames that may be saved up, at least
_TILING_COST = 1.25  # of a whole run: what all tiles of a segment may cost together
_GRIDS = ((1, 2), (2, 2), (2, 3), (3, 3), (3, 4), (4, 4))  # rows and columns


class RollingRefresh:
    """The refresh of one model's maps. share: of a dense frame, what a changed frame may spend on it.

    complete: whether the last `advance` completed a round over all tiles, which began at started_ns.
    """

    def __init__(self, features: FeatureCache | None, max_age_ns: int) -> None:
        self._features = features
        self._tiles: dict[str, list[Box]] = {}
        self.max_age_ns = max_age_ns
        self.started_ns = 0
        self.complete = False
        self.restart()

    def restart(self) -> None:
        """Everything was computed, or costs or bounds changed: end the round."""
        self._segments: list[Segment] | None = None  # of this round, still to come; None: no round
        self._queue: list[tuple[Segment, Box]] = []
        self._full = False
        self._done = 0  # tiles of this round
        self._saved_ms = 0.0
        self._frames = 0  # changed frames since the last round began
        self._still = 0  # unchanged frames since the last changed one
        self._tiles.clear()

    def active(self, now_ns: int, since_ns: int, *, earns: bool) -> bool:
        """Whether `advance` may have something to do. earns: whether the frame may spend anything."""
        self.complete = False
        if now_ns - since_ns >= _START * self.max_age_ns:
            return True
        return earns and (self._segments is not None or bool(self._features and self._features.doubts))

    def advance(self, now_ns: int, since_ns: int, earned_ms: float, changed: bool) -> list[Box]:
        """Compute the tiles that are due. Returns those of the first segment: there, the image is what was computed.

        since_ns: when the oldest cell was computed. earned_ms: what a changed frame may spend. changed: whether the
        image changed, so that doubts grow.
        """
        assert self._features is not None
        self._frames += changed
        self._still = 0 if changed else self._still + 1
        earned_ms *= 1 if changed else _STILL_FACTOR
        age = (now_ns - since_ns) / self.max_age_ns
        if self._must_begin(age, earns=earned_ms > 0):
            # While the scene changes, what is below the tolerance of change detection drifts everywhere.
            self._begin(now_ns, full=changed or age >= _START)
        if self._segments is None:
            return []
        self._saved_ms = min(self._saved_ms + earned_ms, self._most_saved_ms())
        renewed: list[Box] = []
        while (tile := self._next_tile()) is not None:
            segment, box = tile
            cost_ms = self._features.refresh_ms(segment, box)
            if self._saved_ms < cost_ms and self._done >= self._due(age):
                self._queue.insert(0, tile)
                return renewed
            self._saved_ms = max(0.0, self._saved_ms - cost_ms)
            self._features.refresh(segment, box)
            self._done += 1
            if segment is self._features.segments[0]:
                renewed.append(box)
        self._segments, self.complete = None, self._full
        return renewed

    def _must_begin(self, age: float, *, earns: bool) -> bool:
        assert self._features is not None
        if age >= _START:
            return self._segments is None or not self._full
        if self._segments is not None or not earns:
            return False
        return bool(self._features.doubts) and (self._frames >= _ROUND_FRAMES or self._still >= _STILL_FRAMES)

    def _begin(self, now_ns: int, *, full: bool) -> None:
        assert self._features is not None
        self._segments, self._queue = self._features.segments, []
        self._full, self._done, self._frames = full, 0, 0
        self.started_ns = now_ns

    def _due(self, age: float) -> int:
        """How many tiles of this round must have been computed at this age."""
        assert self._features is not None
        total = sum(len(self._tiles_of(segment)) for segment in self._features.segments)
        return 0 if age < _START else math.ceil(total * min(1.0, (age - _START) / (_DONE - _START)))

    def _next_tile(self) -> tuple[Segment, Box] | None:
        """The next tile to compute, the most doubtful of its segment; None if the round is complete."""
        features = self._features
        assert features is not None
        assert self._segments is not None
        while not self._queue and self._segments:
            segment, *self._segments = self._segments
            if segment.head and not features.has_run(segment.head):
                continue
            doubts = features.doubts.take(segment.name)
            rated = [(doubts.of(segment.name, tile), tile) for tile in self._tiles_of(segment)]
            rated.sort(key=lambda item: -item[0])
            self._queue = [(segment, tile) for doubt, tile in rated if doubt or self._full]
        return self._queue.pop(0) if self._queue else None

    def _tiles_of(self, segment: Segment) -> list[Box]:
        assert self._features is not None
        if segment.name not in self._tiles:
            self._tiles[segment.name] = tiles(segment, self._features.costs.segments[segment.name])
        return self._tiles[segment.name]

    def _most_saved_ms(self) -> float:
        """The limit of what is saved up: no burst of tiles after a pause, but enough for any tile."""
        assert self._features is not None
        costs = self._features.costs
        return max(_MAX_SAVED * costs.dense, *(cost(1.0) for cost in costs.segments.values()))


def tiles(segment: Segment, cost: Cost) -> list[Box]:
    """Boxes that cover a segment's outputs: as many as cost little more than one run of the whole."""
    found = [segment.whole]
    if not segment.croppable:
        return found
    with segment.unlimited():
        for rows, columns in _GRIDS:
            grid = _grid(segment, rows, columns)
            if sum(cost(segment.part(segment.needed(box))) for box in grid) > _TILING_COST * cost(1.0):
                break
            found = grid
    return found


def _grid(segment: Segment, rows: int, columns: int) -> list[Box]:
    width, height = segment.whole[2:]
    x, y = _edges(width, columns, segment.align), _edges(height, rows, segment.align)
    return [(x1, y1, x2, y2) for y1, y2 in pairwise(y) for x1, x2 in pairwise(x)]


def _edges(side: int, count: int, align: int) -> list[int]:
    """Multiples of `align` that divide a side into about `count` parts, and both ends."""
    inner = {round(side * i / count / align) * align for i in range(1, count)}
    return [0, *sorted(edge for edge in inner if 0 < edge < side), side]
