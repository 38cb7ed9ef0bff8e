"""Shared by the face detectors: outputs that are tables (1, N, K), grouped into levels by their number of rows.

Not here: what the columns mean (scrfd.py, blazeface.py, retinaface.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.frame import Float32
from edge_app.heads._grids import centers
from edge_app.heads._outputs import Arrays, shape_of


@dataclass(frozen=True, slots=True)
class Levels:
    """The tables of a detector. rows: of each level, most first. names: by number of columns, one output per level."""

    rows: tuple[int, ...]
    names: dict[int, tuple[str, ...]]

    def column(self, outputs: Arrays, columns: int) -> list[np.ndarray]:
        """The tables (rows, columns) of all levels."""
        return [outputs[name][0] for name in self.names[columns]]


def levels(outputs: Sequence[TensorSpec]) -> Levels | None:
    """Group tables by their rows. None unless every level has the same columns, each once."""
    found: dict[int, dict[int, str]] = {}
    for output in outputs:
        shape = shape_of(output)
        if len(shape) != 2 or shape[1] in found.setdefault(shape[0], {}):
            return None
        found[shape[0]][shape[1]] = output.name
    rows = tuple(sorted(found, reverse=True))
    columns = set(found[rows[0]]) if rows else set()
    if not rows or any(set(found[n]) != columns for n in rows):
        return None
    return Levels(rows, {column: tuple(found[n][column] for n in rows) for column in columns})


def anchor_points(input_size: tuple[int, int], strides: Sequence[int], counts: Sequence[int], offset: float) -> Float32:
    """Reference points of anchors (N, 2) in input pixels, level by level, the anchors of one cell in succession.

    counts: anchors per cell of each level. offset: in a cell, 0.5 its center, 0 its top left corner.
    """
    width, height = input_size
    points = [
        np.repeat(centers(-(-width // stride), -(-height // stride), stride, stride, offset), count, axis=0)
        for stride, count in zip(strides, counts)
    ]
    return np.concatenate(points)
