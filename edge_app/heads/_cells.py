"""Boxes from the cells of grids: where the cells lie, and the shapes in which formats give a box.

All in input pixels, float32. Which format uses what is the families' business; so is keeping numpy quiet about numbers
that are not finite.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32

STRIDES = (4, 8, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True)
class Grid:
    """One level of a detector: width and height in cells, stride in input pixels."""

    width: int
    height: int
    stride: int

    @property
    def cells(self) -> int:
        return self.width * self.height


def grid(input_size: tuple[int, int], stride: int) -> Grid:
    """The grid that a network with rounding up has at a stride. input_size: width and height."""
    return Grid(-(-input_size[0] // stride), -(-input_size[1] // stride), stride)


def grid_of(input_size: tuple[int, int], cells: int) -> Grid | None:
    """The grid that has so many cells, or None."""
    return next((g for g in (grid(input_size, s) for s in STRIDES) if g.cells == cells), None)


def centers(width: int, height: int, stride_x: float, stride_y: float, offset: float = 0.5) -> Float32:
    """Centres (height * width, 2) of a grid's cells, row by row. offset: 0 gives their top left corners."""
    x = (np.arange(width, dtype=np.float32) + np.float32(offset)) * np.float32(stride_x)
    y = (np.arange(height, dtype=np.float32) + np.float32(offset)) * np.float32(stride_y)
    return np.stack([np.tile(x, height), np.repeat(y, width)], axis=1)


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The cells of several grids, one grid after the other. center: (cells, 2); stride: (cells, 1)."""

    center: Float32
    stride: Float32

    @classmethod
    def of(cls, grids: Sequence[Grid], offset: float = 0.5) -> Pyramid:
        """offset: where in a cell its centre is said to lie; 0 is the top left corner."""
        center = [centers(g.width, g.height, g.stride, g.stride, offset) for g in grids]
        stride = [np.full((g.cells, 1), g.stride, np.float32) for g in grids]
        return cls(np.concatenate(center), np.concatenate(stride))


def gather(parts: Sequence[NDArray[Any]], rows: NDArray[np.intp]) -> Float32:
    """Rows of parts (cells, K) that lie one after the other, without joining them. rows: ascending. Returns (N, K)."""
    if len(parts) == 1:
        return parts[0][rows].astype(np.float32, copy=False)
    ends = np.cumsum([len(part) for part in parts])
    cuts = np.searchsorted(rows, ends).tolist()
    picked = np.empty((len(rows), parts[0].shape[1]), np.float32)
    first = 0
    for part, end, cut in zip(parts, ends.tolist(), cuts):
        if cut > first:
            picked[first:cut] = part[rows[first:cut] - (end - len(part))]
        first = cut
    return picked


def from_edges(center: Float32, distance: Float32) -> Float32:
    """Boxes (N, 4) from distances (N, 4) to the left, top, right and bottom edge. center: (N, 2)."""
    xyxy = np.empty(distance.shape, np.float32)
    np.subtract(center, distance[:, :2], out=xyxy[:, :2])
    np.add(center, distance[:, 2:], out=xyxy[:, 2:])
    return xyxy


def from_size(center: Float32, size: Float32) -> Float32:
    """Boxes (N, 4) from their centres (N, 2) and widths and heights (N, 2)."""
    half = size * np.float32(0.5)
    xyxy = np.empty((len(center), 4), np.float32)
    np.subtract(center, half, out=xyxy[:, :2])
    np.add(center, half, out=xyxy[:, 2:])
    return xyxy


def expectation(logits: Float32) -> Float32:
    """Mean of a softmax over bins 0, 1, 2 …: how distribution focal loss states a distance.

    logits: (N, 4 * bins), the bins of one distance beside each other. Returns (N, 4) in bins; NaN where a logit is not
    finite. Source: Li et al., "Generalized Focal Loss" (NeurIPS 2020).
    """
    logits = logits.reshape(len(logits), 4, -1)  # (N, 4, bins)
    weight = np.exp(logits - logits.max(axis=2, keepdims=True))
    bins = np.arange(logits.shape[2], dtype=np.float32)
    mean: Float32 = (weight @ bins) / weight.sum(axis=2)
    return mean
