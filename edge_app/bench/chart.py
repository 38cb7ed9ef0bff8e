"""Small charts drawn with OpenCV, so that a device can draw them: panels with axes, points, lines and words.

Everything is drawn at twice the size and shrunk, which smooths it. Not here: what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge_app.errors import ConfigError
from edge_app.frame import UInt8

Color = tuple[int, int, int]  # BGR
Mark = Literal["disc", "ring", "square", "triangle", "diamond", "cross"]

INK: Color = (60, 60, 60)
FAINT: Color = (225, 225, 225)
_SCALE = 2
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 26, 38  # pixels around the axes
_RADIUS = 5
_CORNERS: dict[str, list[tuple[float, float]]] = {  # of a mark, in radii
    "square": [(-1, -1), (1, -1), (1, 1), (-1, 1)],
    "triangle": [(0, -1.2), (1.1, 0.9), (-1.1, 0.9)],
    "diamond": [(0, -1.3), (1.3, 0), (0, 1.3), (-1.3, 0)],
}


class Canvas:
    """A white picture of width x height pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.size = width, height
        self._image: UInt8 = np.full((height * _SCALE, width * _SCALE, 3), 255, np.uint8)

    def line(self, a: tuple[float, float], b: tuple[float, float], color: Color = INK, width: int = 1) -> None:
        """From a to b, pixels."""
        cv2.line(self._image, _scaled(a), _scaled(b), color, width * _SCALE - 1, cv2.LINE_AA)

    def words(
        self,
        text: str,
        at: tuple[float, float],
        *,
        size: float = 0.4,
        color: Color = INK,
        align: Literal["left", "middle", "right"] = "left",
    ) -> None:
        """Text on one line; at: pixels, its base line's left end, middle or right end."""
        (width, _), _ = cv2.getTextSize(text, _FONT, size * _SCALE, _SCALE)
        x, y = _scaled(at)
        x -= {"left": 0, "middle": width // 2, "right": width}[align]
        cv2.putText(self._image, text, (x, y), _FONT, size * _SCALE, color, _SCALE, cv2.LINE_AA)

    def mark(self, kind: Mark, at: tuple[float, float], color: Color) -> None:
        """A point's mark; at: pixels."""
        x, y = _scaled(at)
        r = _RADIUS * _SCALE
        if kind in ("disc", "ring"):
            cv2.circle(self._image, (x, y), r, color, -1 if kind == "disc" else _SCALE, cv2.LINE_AA)
            return
        if kind == "cross":
            for dx in (-r, r):
                cv2.line(self._image, (x - dx, y - r), (x + dx, y + r), color, 2 * _SCALE, cv2.LINE_AA)
            return
        points = np.array([(x + dx * r, y + dy * r) for dx, dy in _CORNERS[kind]], np.int32)
        cv2.fillConvexPoly(self._image, points, color, cv2.LINE_AA)

    def save(self, path: Path) -> None:
        """Write a PNG. Raises ConfigError where that is not possible."""
        _, data = cv2.imencode(".png", cv2.resize(self._image, self.size, interpolation=cv2.INTER_AREA))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data.tobytes())
        except OSError as exc:
            raise ConfigError(f"{path}: {exc.strerror}; expected a file that can be written") from exc


@dataclass(frozen=True, slots=True)
class Axis:
    """low to high, the values that are written beside it, and what it is."""

    low: float
    high: float
    ticks: Sequence[float]
    name: str


class Panel:
    """A chart in a part of a canvas. area: x1, y1, x2, y2 of that part, pixels."""

    def __init__(self, canvas: Canvas, area: tuple[int, int, int, int], x: Axis, y: Axis, title: str = "") -> None:
        self._canvas, self._x, self._y = canvas, x, y
        self._box = area[0] + _LEFT, area[1] + _TOP, area[2] - _RIGHT, area[3] - _BOTTOM
        left, top, right, bottom = self._box
        for tick in x.ticks:
            px = self._place(tick, y.low)[0]
            canvas.line((px, top), (px, bottom), FAINT)
            canvas.words(f"{tick:g}", (px, bottom + 13), size=0.34, align="middle")
        for tick in y.ticks:
            py = self._place(x.low, tick)[1]
            canvas.line((left, py), (right, py), FAINT)
            canvas.words(f"{tick:g}", (left - 5, py + 4), size=0.34, align="right")
        canvas.line((left, bottom), (right, bottom))
        canvas.line((left, top), (left, bottom))
        canvas.words(title, (left, top - 9), size=0.45)
        canvas.words(x.name, ((left + right) / 2, bottom + 28), size=0.36, align="middle")
        canvas.words(y.name, (left + 4, top + 11), size=0.34)

    def point(self, at: tuple[float, float], kind: Mark, color: Color, label: str = "", *, below: bool = False) -> None:
        """A point (x, y), at the border where it lies outside of the axes; its label to the right, above or below."""
        x, y = self._place(*at)
        self._canvas.mark(kind, (x, y), color)
        if label:
            self._canvas.words(label, (x + 8, y + 14 if below else y - 6), size=0.36, color=color)

    def level(self, y: float, color: Color, label: str = "") -> None:
        """A line across the panel."""
        left, _, right, _ = self._box
        height = self._place(self._x.low, y)[1]
        self._canvas.line((left, height), (right, height), color)
        if label:
            self._canvas.words(label, (right, height - 4), size=0.34, color=color, align="right")

    def path(self, points: Sequence[tuple[float, float]], color: Color) -> None:
        """A line through points."""
        placed = [self._place(*point) for point in points]
        for a, b in pairwise(placed):
            self._canvas.line(a, b, color)

    def _place(self, x: float, y: float) -> tuple[float, float]:
        left, top, right, bottom = self._box
        along = min(max((x - self._x.low) / (self._x.high - self._x.low), 0.0), 1.0)
        up = min(max((y - self._y.low) / (self._y.high - self._y.low), 0.0), 1.0)
        return left + along * (right - left), bottom - up * (bottom - top)


def _scaled(at: tuple[float, float]) -> tuple[int, int]:
    return round(at[0] * _SCALE), round(at[1] * _SCALE)
