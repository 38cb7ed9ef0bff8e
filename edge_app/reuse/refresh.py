"""The rolling refresh: which tile of the image to recompute although no change was detected there.

Tiles are horizontal strips. One is computed per frame during the last part of the allowed age; the deep segments follow
once, after the last tile. So no single frame pays for a full refresh, and nothing becomes older than the limit.
"""

from __future__ import annotations

from edge_app.reuse.dirty_rects import Box

_TILE_HEIGHT = 160  # pixels, approximately
_START = 0.7  # of the allowed age: the remaining time is divided among the tiles


class RollingRefresh:
    """The schedule of one model's tiles. size: of its input, pixels; align: tile edges are multiples of it."""

    def __init__(self, size: tuple[int, int], max_age_ns: int, align: int) -> None:
        rows = -(-size[1] // align)
        step = max(1, round(_TILE_HEIGHT / align))
        self._tiles: list[Box] = [
            (0, row * align, size[0], min(size[1], (row + step) * align)) for row in range(0, rows, step)
        ]
        self._next = 0
        self.max_age_ns = max_age_ns
        self.started_ns = 0  # when the first tile of this round was computed

    def restart(self) -> None:
        """Begin a new round: everything was computed."""
        self._next = 0

    def next_tile(self, now_ns: int, since_ns: int) -> Box | None:
        """The tile to compute now, or None. since_ns: when the oldest cell was computed."""
        age = (now_ns - since_ns) / self.max_age_ns
        interval = (1 - _START) / (len(self._tiles) + 1)
        if age < _START + self._next * interval:
            return None
        if self._next == 0:
            self.started_ns = now_ns
        tile = self._tiles[self._next]
        self._next += 1
        return tile

    @property
    def complete(self) -> bool:
        """Whether all tiles of this round were computed, so that the deep segments are next."""
        return self._next == len(self._tiles)
