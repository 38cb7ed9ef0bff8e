"""Grids of cells: the positions of cells, and boxes from the values that a model predicts for a cell.

Everything is float32 in input pixels. Not here: which family uses which encoding, suppressing numpy's warnings about
values that are not finite.
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
    """The grid at a stride; a partial cell at the right or bottom counts. input_size: width and height."""
    return Grid(-(-input_size[0] // stride), -(-input_size[1] // stride), stride)


def grid_of(input_size: tuple[int, int], cells: int) -> Grid | None:
    """The grid with this number of cells, or None."""
    return next((g for g in (grid(input_size, s) for s in STRIDES) if g.cells == cells), None)


def centers(width: int, height: int, stride_x: float, stride_y: float, offset: float = 0.5) -> Float32:
    """Centers (height * width, 2) of a grid's cells, row by row. With offset 0, their top left corners."""
    x = (np.arange(width, dtype=np.float32) + np.float32(offset)) * np.float32(stride_x)
    y = (np.arange(height, dtype=np.float32) + np.float32(offset)) * np.float32(stride_y)
    return np.stack([np.tile(x, height), np.repeat(y, width)], axis=1)


@dataclass(frozen=True, slots=True)
class Pyramid:
    """The cells of several grids, concatenated. center: (cells, 2); stride: (cells, 1)."""

    center: Float32
    stride: Float32

    @classmethod
    def of(cls, grids: Sequence[Grid], offset: float = 0.5) -> Pyramid:
        """Concatenate grids. offset: the reference point of a cell, 0.5 its center, 0 its top left corner."""
        center = [centers(g.width, g.height, g.stride, g.stride, offset) for g in grids]
        stride = [np.full((g.cells, 1), g.stride, np.float32) for g in grids]
        return cls(np.concatenate(center), np.concatenate(stride))


def gather(parts: Sequence[NDArray[Any]], rows: NDArray[np.intp]) -> Float32:
    """Rows (N, K) of the concatenation of `parts` (cells, K) each, without concatenating them. rows: ascending."""
    if len(parts) == 1:
        return parts[0][rows].astype(np.float32, copy=False)
    ends = np.cumsum([len(part) for part in parts])
    cuts = np.searchsorted(rows, ends).tolist()
    gathered = np.empty((len(rows), parts[0].shape[1]), np.float32)
    first = 0
    for part, end, cut in zip(parts, ends.tolist(), cuts):
        if cut > first:
            gathered[first:cut] = part[rows[first:cut] - (end - len(part))]
        first = cut
    return gathered


def from_edges(center: Float32, distance: Float32) -> Float32:
    """Boxes (N, 4) from distances (N, 4) between center (N, 2) and the left, top, right and bottom edges."""
    xyxy = np.empty(distance.shape, np.float32)
    np.subtract(center, distance[:, :2], out=xyxy[:, :2])
    np.add(center, distance[:, 2:], out=xyxy[:, 2:])
    return xyxy


def from_size(center: Float32, size: Float32) -> Float32:
    """Boxes (N, 4) from center (N, 2) and size (N, 2), width and height."""
    half = size * np.float32(0.5)
    xyxy = np.empty((len(center), 4), np.float32)
    np.subtract(center, half, out=xyxy[:, :2])
    np.add(center, half, out=xyxy[:, 2:])
    return xyxy


def expectation(logits: Float32) -> Float32:
    """The expected value of a softmax over bins 0, 1, 2 …, which encodes a distance in distribution focal loss.

    logits: (N, 4 * bins), the bins of one distance contiguous. Returns (N, 4) in bins; NaN if a logit is not finite.
    Source: Li et al., "Generalized Focal Loss" (NeurIPS 2020).
    """
    logits = logits.reshape(len(logits), 4, -1)  # (N, 4, bins)
    weight = np.exp(logits - logits.max(axis=2, keepdims=True))
    bins = np.arange(logits.shape[2], dtype=np.float32)
    mean: Float32 = (weight @ bins) / weight.sum(axis=2)
    return mean
