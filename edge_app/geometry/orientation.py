"""Turn, mirror, crop and mask a picture, in BGR or NV12, before anything else sees it.

NV12 stays NV12. What is rounded: a crop grows to even pixels on each side (in both formats, so that a camera's format
changes no coordinate); a mask covers every pixel that it touches, at most two more beside each edge, and in NV12 the
2x2 chroma cells of those. Not here: resizing to a model's input (preprocess.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_app.frame import PixelFormat, UInt8

Point = tuple[float, float]
_ROTATION: dict[int, tuple[bool, bool, bool]] = {  # clockwise: transpose, then mirror vertically, horizontally
    0: (False, False, False),
    90: (True, False, True),
    180: (False, True, True),
    270: (True, True, False),
}
_ROUNDING = 1e-6  # of a pixel: 0.1 * 30 is 3.0000000000000004 and means 3


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A rectangle of the pixel array that holds masked pixels: `pixels & keep | fill`."""

    rows: slice
    columns: slice
    keep: UInt8
    fill: UInt8 | None


class Geometry:
    """Applied in this order: rotate (degrees clockwise), flip, crop, mask.

    crop: x1, y1, x2, y2 and mask: polygons, 0..1 of the picture at that point.
    """

    def __init__(
        self,
        rotate: Literal[0, 90, 180, 270] = 0,
        flip: Literal["none", "horizontal", "vertical"] = "none",
        crop: tuple[float, float, float, float] | None = None,
        mask: Sequence[Sequence[Point]] = (),
    ) -> None:
        transpose, vertical, horizontal = _ROTATION[rotate]
        self._transpose = transpose
        self._flip_code = _flip_code(vertical ^ (flip == "vertical"), horizontal ^ (flip == "horizontal"))
        self._crop = crop
        self._mask = tuple(tuple(polygon) for polygon in mask)
        self._patches: tuple[_Patch, ...] = ()
        self._patches_for: tuple[tuple[int, ...], PixelFormat] | None = None
        self.identity = not (transpose or self._flip_code is not None or crop or self._mask)

    def apply(self, pixels: UInt8, format: PixelFormat) -> UInt8:  # noqa: A002  (the field's own word)
        """The picture as it is delivered, C-contiguous. Masks are painted into `pixels` where nothing else is asked.

        pixels: uint8, `bgr` (H, W, 3) or `nv12` (H * 3 / 2, W), and so is what is returned.
        """
        if self._transpose or self._flip_code is not None or self._crop is not None:
            if format == "bgr":
                pixels = np.ascontiguousarray(self._moved(pixels, _edges(self._crop, pixels, self._transpose)))
            else:
                pixels = self._moved_nv12(pixels)
        if self._mask:
            self._paint(pixels, format)
        return pixels

    def _moved(self, plane: UInt8, edges: tuple[int, int, int, int]) -> UInt8:
        if self._transpose:
            plane = cv2.transpose(plane).astype(np.uint8, copy=False)
        if self._flip_code is not None:
            plane = cv2.flip(plane, self._flip_code).astype(np.uint8, copy=False)
        left, top, right, bottom = edges
        return plane[top:bottom, left:right]

    def _moved_nv12(self, pixels: UInt8) -> UInt8:
        luma, chroma = planes(pixels)
        edges = _edges(self._crop, luma, self._transpose)
        luma = self._moved(luma, edges)
        left, top, right, bottom = edges
        chroma = self._moved(chroma, (left // 2, top // 2, right // 2, bottom // 2))
        height, width = luma.shape
        moved = np.empty((height * 3 // 2, width), np.uint8)
        moved[:height] = luma
        moved[height:].reshape(height // 2, width // 2, 2)[:] = chroma
        return moved

    def _paint(self, pixels: UInt8, format: PixelFormat) -> None:  # noqa: A002
        if self._patches_for != (pixels.shape, format):  # once: a stream seldom changes its size
            self._patches = _patches(self._mask, pixels.shape, format)
            self._patches_for = (pixels.shape, format)
        for patch in self._patches:
            area = pixels[patch.rows, patch.columns]
            np.bitwise_and(area, patch.keep, out=area)
            if patch.fill is not None:
                np.bitwise_or(area, patch.fill, out=area)


def planes(nv12: UInt8) -> tuple[UInt8, UInt8]:
    """Views of NV12 pixels (H * 3 / 2, W): luma (H, W) and chroma (H / 2, W / 2, 2), U before V."""
    height = nv12.shape[0] * 2 // 3
    width = nv12.shape[1]
    return nv12[:height], nv12[height:].reshape(height // 2, width // 2, 2)


def _flip_code(vertical: bool, horizontal: bool) -> int | None:
    """OpenCV's code of a flip: 0 upside down, 1 mirrored, -1 both."""
    if vertical and horizontal:
        return -1
    if vertical:
        return 0
    return 1 if horizontal else None


def _edges(crop: tuple[float, float, float, float] | None, plane: UInt8, transpose: bool) -> tuple[int, int, int, int]:
    """left, top, right, bottom in pixels of the turned plane: even, rounded outwards, inside the picture."""
    height, width = plane.shape[:2]
    if transpose:
        height, width = width, height
    if crop is None:
        return 0, 0, width, height
    x1, y1, x2, y2 = crop
    return _even_below(x1 * width), _even_below(y1 * height), _even_above(x2, width), _even_above(y2, height)


def _even_below(position: float) -> int:
    return 2 * math.floor(position / 2 + _ROUNDING)


def _even_above(fraction: float, size: int) -> int:
    return min(size, 2 * math.ceil(fraction * size / 2 - _ROUNDING))


def _patches(mask: Sequence[Sequence[Point]], shape: tuple[int, ...], format: PixelFormat) -> tuple[_Patch, ...]:  # noqa: A002
    height, width = (shape[0], shape[1]) if format == "bgr" else (shape[0] * 2 // 3, shape[1])
    patches: list[_Patch] = []
    for polygon in mask:
        hidden = _hidden(polygon, height, width)
        left, top, columns, rows = cv2.boundingRect(hidden.view(np.uint8))
        if not columns:
            continue
        left, right = left // 2 * 2, min(width, (left + columns + 1) // 2 * 2)
        top, bottom = top // 2 * 2, min(height, (top + rows + 1) // 2 * 2)
        hidden = hidden[top:bottom, left:right]
        keep = np.where(hidden, 0, 255).astype(np.uint8)
        where = slice(top, bottom), slice(left, right)
        if format == "bgr":
            patches.append(_Patch(*where, np.repeat(keep[..., None], 3, axis=2), None))
            continue
        patches.append(_Patch(*where, keep, None))
        cells = hidden.reshape(hidden.shape[0] // 2, 2, hidden.shape[1] // 2, 2).any(axis=(1, 3))
        cells = np.repeat(cells, 2, axis=1)  # U and V of a cell lie side by side
        rows_uv = slice(height + top // 2, height + bottom // 2)
        keep_uv = np.where(cells, 0, 255).astype(np.uint8)
        patches.append(_Patch(rows_uv, where[1], keep_uv, np.where(cells, 128, 0).astype(np.uint8)))
    return tuple(patches)


def _hidden(polygon: Sequence[Point], height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The pixels that a polygon touches: (height, width) bool."""
    corners = np.floor(np.asarray(polygon, np.float64) * (width, height) + _ROUNDING).astype(np.int32)
    drawn = np.zeros((height, width), np.uint8)
    cv2.fillPoly(drawn, [corners], (1,))
    return cv2.dilate(drawn, np.ones((3, 3), np.uint8)).astype(np.bool_)  # the corners were rounded
