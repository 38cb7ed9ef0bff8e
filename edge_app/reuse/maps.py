"""The cached maps of a model: new values are stored everywhere or in a box, where they differ enough from the old ones.

Not here: which segments run where (feature_cache.py).
"""

from __future__ import annotations

from collections.abc import Collection

import cv2
import numpy as np

from edge_app.backends import Array
from edge_app.reuse.dirty_rects import Box
from edge_app.reuse.segments import Segment

_OUTPUT_SCALE = 0.05  # of the tolerance: a head's outputs are compared more strictly than maps
Cells = tuple[slice, slice]  # rows and columns of a map


class CachedMaps:
    """Maps by key (Segment.keys).

    ends: the keys of heads' outputs. A whole run replaces these arrays, since a decoder may still use the old ones.
    In all methods, tolerance is a share of the map's root mean square when it was first stored; 0 stores everything.
    """

    def __init__(self, ends: Collection[str]) -> None:
        self.values: dict[str, Array] = {}
        self._ends = frozenset(ends)
        self._scales: dict[str, float] = {}

    def store(self, segment: Segment, name: str, value: Array) -> None:
        """Store an output of a segment that ran as a whole."""
        key = segment.keys[name]
        # Copied: keeping the engine's own array would fragment its memory arena, which took 2.5 MB more.
        if key in self.values and key not in self._ends:
            np.copyto(self.values[key], value)
        else:
            self.values[key] = value.copy()
        if key not in self._scales:
            segment.check_cells(name, value)
            share = _OUTPUT_SCALE if key in self._ends else 1.0
            compared = segment.croppable or name in segment.comparable
            self._scales[key] = share * float(cv2.norm(value.reshape(-1))) / value.size**0.5 if compared else 0.0

    def paste(
        self, segment: Segment, name: str, where: Cells, values: Array, tolerance: float, *, all_cells: bool = False
    ) -> Box | None:
        """Store new values in a box of a map, where they differ by more than the tolerance; with all_cells, everywhere.

        values: (channels, rows, columns). Returns the box in which they differ, input pixels, or None.
        """
        rows, columns = where
        stride, key = segment.strides[name], segment.keys[name]
        target = self.values[key][0]
        limit = tolerance * self._scales.get(key, 0.0)
        if limit:
            height, width = values.shape[1:]
            new, old = np.ascontiguousarray(values), np.ascontiguousarray(target[:, rows, columns])
            difference = cv2.absdiff(new.reshape(len(new), -1), old.reshape(len(old), -1))
            largest = cv2.reduce(difference, 0, cv2.REDUCE_MAX).reshape(height, width)
            x, y, width, height = cv2.boundingRect((largest > limit).astype(np.uint8))
            if all_cells:
                target[:, rows, columns] = values
            if not width:
                return None
            values = new[:, y : y + height, x : x + width]
            rows = slice(rows.start + y, rows.start + y + height)
            columns = slice(columns.start + x, columns.start + x + width)
        target[:, rows, columns] = values
        return columns.start * stride, rows.start * stride, columns.stop * stride, rows.stop * stride

    def paste_rows(
        self, segment: Segment, name: str, where: Cells, values: Array, tolerance: float, *, all_cells: bool = False
    ) -> bool:
        """Store new values in a head's rows if any differs by more than the tolerance, or if all_cells is set.

        values: (rows, columns, n * channels). Returns whether any differs.
        """
        (rows, columns), key = segment.cells(name, segment.whole), segment.keys[name]
        target = self.values[key].reshape(rows.stop, columns.stop, -1)
        limit = tolerance * self._scales.get(key, 0.0)
        differs = True
        if limit:
            old, new = np.ascontiguousarray(target[where]), np.ascontiguousarray(values)
            differs = float(cv2.norm(old, new, cv2.NORM_INF)) > limit
        if differs or all_cells:
            target[where] = values
        return differs
