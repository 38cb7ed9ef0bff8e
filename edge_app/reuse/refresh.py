"""How old cells may become: when which tile of the picture is computed again though nothing was seen to change.

Tiles are horizontal strips, one a frame, in the last part of the age that is allowed; the deeper steps follow once,
behind the last tile. So no frame pays for all of it, and nothing is older than max_age.
"""

from __future__ import annotations

from edge_app.reuse.dirty_rects import Box

_TILE = 160  # pixels high, about
_BEGINS = 0.7  # of max_age: the rest is there for the tiles to come one by one


class Sweep:
    """One model's tiles. size: of its input; height: what a tile's edges must be multiples of."""

    def __init__(self, size: tuple[int, int], max_age_ns: int, align: int) -> None:
        rows = -(-size[1] // align)
        step = max(1, round(_TILE / align))
        self._tiles: list[Box] = [
            (0, row * align, size[0], min(size[1], (row + step) * align)) for row in range(0, rows, step)
        ]
        self._max_age_ns = max_age_ns
        self._next = 0
        self.began_ns = 0  # when the first tile of this sweep was computed

    def restart(self) -> None:
        """Everything is new."""
        self._next = 0

    def due(self, now_ns: int, since_ns: int) -> Box | None:
        """The tile to compute now, or None. since_ns: when the oldest cell was computed."""
        age = (now_ns - since_ns) / self._max_age_ns
        step = (1 - _BEGINS) / (len(self._tiles) + 1)
        if age < _BEGINS + self._next * step:
            return None
        if self._next == 0:
            self.began_ns = now_ns
        tile = self._tiles[self._next]
        self._next += 1
        return tile

    @property
    def complete(self) -> bool:
        """Whether every tile has been computed: the deeper steps are next."""
        return self._next == len(self._tiles)
