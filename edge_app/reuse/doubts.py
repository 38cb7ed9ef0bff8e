"""Doubts: where the maps of a segment may differ from those of a full run, and by how much of the change.

Partial frames leave them: differences below the tolerance are cut off, and a change is followed over a share of the
receptive field. The rolling refresh (refresh.py) computes the most doubtful tiles first.
"""

from __future__ import annotations

from edge_app.reuse.dirty_rects import Box, union

_MAX_BOXES = 64  # of a segment: with more, the older half is joined into one


class Doubts:
    """By segment, boxes of its outputs in input pixels, each with a weight."""

    def __init__(self) -> None:
        self._boxes: dict[str, list[tuple[Box, float]]] = {}

    def add(self, segment: str, box: Box, weight: float = 1.0) -> None:
        """The segment's outputs in a box may be wrong. weight: 0..1, the share of the box that was not updated."""
        boxes = self._boxes.setdefault(segment, [])
        boxes.append((box, weight))
        if len(boxes) > _MAX_BOXES:
            half = len(boxes) // 2
            joined, total = boxes[0]
            for other, more in boxes[1:half]:
                joined, total = union(joined, other), total + more
            boxes[:half] = [(joined, total)]

    def of(self, segment: str, tile: Box) -> float:
        """The doubt in a tile: the sum of weight times overlap, in pixels."""
        total = 0.0
        for (x1, y1, x2, y2), weight in self._boxes.get(segment, ()):
            width, height = min(x2, tile[2]) - max(x1, tile[0]), min(y2, tile[3]) - max(y1, tile[1])
            if width > 0 and height > 0:
                total += weight * width * height
        return total

    def take(self, segment: str) -> Doubts:
        """Remove the doubts of a segment, and return them."""
        taken = Doubts()
        taken._boxes[segment] = self._boxes.pop(segment, [])
        return taken

    def clear(self) -> None:
        """Everything was computed in full."""
        self._boxes.clear()

    def __bool__(self) -> bool:
        return bool(self._boxes)
