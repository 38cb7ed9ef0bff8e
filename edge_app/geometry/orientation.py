"""Rotate, flip, crop and mask a captured image, in BGR or NV12, before any other stage gets it.

NV12 stays NV12. Rounding: a crop grows outwards to even pixels, in both formats, so that coordinates do not depend on
the camera's pixel format. A mask covers every pixel that it touches or encloses, and at most two pixels beyond each
edge; in NV12 it also covers the 2x2 chroma cells of these pixels.
Not here: resizing to a model's input (inference/preprocess.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from edge_app.frame import PixelFormat, UInt8
from edge_app.geometry.polygons import Point

_ROTATION: dict[int, tuple[bool, bool, bool]] = {  # clockwise: transpose, then mirror vertically, horizontally
    0: (False, False, False),
    90: (True, False, True),
    180: (False, True, True),
    270: (True, True, False),
}
_ROUNDING = 1e-6  # of a pixel: 0.1 * 30 is 3.0000000000000004 and means 3


@dataclass(frozen=True, slots=True, eq=False)
class _Patch:
    """A rectangle of the pixel array that contains masked pixels. Masking computes `pixels & keep | fill`."""

    rows: slice
    columns: slice
    keep: UInt8
    fill: UInt8 | None


class Geometry:
    """Rotates (degrees clockwise), flips, crops and masks images, in this order.

    crop: x1, y1, x2, y2. mask: polygons, painted black. Both in 0..1 of the image as the preceding step leaves it.
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
        """Return the image rotated, flipped, cropped and masked, C-contiguous, in the same pixel format.

        pixels: uint8, `bgr` (H, W, 3) or `nv12` (H * 3 / 2, W). If only masks are configured, they are painted into
        `pixels` itself, which is then returned.
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
        if self._patches_for != (pixels.shape, format):  # rebuilt only when the stream changes its size or format
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
    """The flip code of cv2.flip: 0 vertical, 1 horizontal, -1 both; None for no flip."""
    if vertical and horizontal:
        return -1
    if vertical:
        return 0
    return 1 if horizontal else None


def _edges(crop: tuple[float, float, float, float] | None, plane: UInt8, transpose: bool) -> tuple[int, int, int, int]:
    """Crop edges left, top, right, bottom in pixels of the rotated plane, even, rounded outwards, inside it."""
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
        masked = _masked(polygon, height, width)
        left, top, columns, rows = cv2.boundingRect(masked.view(np.uint8))
        if not columns:
            continue
        left, right = left // 2 * 2, min(width, (left + columns + 1) // 2 * 2)
        top, bottom = top // 2 * 2, min(height, (top + rows + 1) // 2 * 2)
        masked = masked[top:bottom, left:right]
        keep = np.where(masked, 0, 255).astype(np.uint8)
        window = slice(top, bottom), slice(left, right)
        if format == "bgr":
            patches.append(_Patch(*window, np.repeat(keep[..., None], 3, axis=2), None))
            continue
        patches.append(_Patch(*window, keep, None))
        cells = masked.reshape(masked.shape[0] // 2, 2, masked.shape[1] // 2, 2).any(axis=(1, 3))
        cells = np.repeat(cells, 2, axis=1)  # U and V of a cell are adjacent bytes
        rows_uv = slice(height + top // 2, height + bottom // 2)
        keep_uv = np.where(cells, 0, 255).astype(np.uint8)
        patches.append(_Patch(rows_uv, window[1], keep_uv, np.where(cells, 128, 0).astype(np.uint8)))
    return tuple(patches)


def _masked(polygon: Sequence[Point], height: int, width: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """The pixels that a polygon touches or encloses: (height, width) bool.

    fillPoly alone leaves parts of a polygon that crosses itself open (even-odd rule). So the outside is flood-filled,
    and every pixel that it does not reach is masked. A gap narrower than a pixel counts as closed.
    """
    corners = np.floor(np.asarray(polygon, np.float64) * (width, height) + _ROUNDING).astype(np.int32)
    canvas = np.zeros((height + 3, width + 3), np.uint8)  # corners reach 0..width: leaves a margin on every side
    cv2.fillPoly(canvas, [corners + 1], (1,))
    cv2.floodFill(canvas, None, (0, 0), (2,))
    masked = (canvas != 2).view(np.uint8)
    masked = cv2.dilate(masked, np.ones((3, 3), np.uint8)).astype(np.bool_)  # the corners were rounded
    return masked[1 : height + 1, 1 : width + 1]
