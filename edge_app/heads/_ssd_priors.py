"""The prior boxes of published SSD detectors, by their number and the size of the input.

Sources: MobileNet-SSD (chuanqi305) and SSD (weiliu89), `PriorBox` of Caffe; pytorch-ssd (qfgaohao),
`generate_ssd_priors`; torchvision, `DefaultBoxGenerator`; TensorFlow's Object Detection API, `create_ssd_anchors`.
Not here: decoding (ssd.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from edge_app.frame import Float32

Source = Literal["caffe", "pytorch", "torchvision", "tensorflow"]
Size = tuple[int, int]
_Shape = tuple[float, float]  # width and height of a prior, relative to the input
_PUBLISHED = (300, 300)  # the sizes of Caffe and pytorch-ssd are pixels of this input
_HALF, _MORE = (2.0,), (2.0, 3.0)  # aspect ratios
_MOBILE = (19, 10, 5, 3, 2, 1)
_VGG = (38, 19, 10, 5, 3, 1)
_VGG_STEPS = (8, 16, 32, 64, 100, 300)
_VGG_RATIOS = (_HALF, _MORE, _MORE, _MORE, _HALF, _HALF)
_MOBILE_SIDES = (60, 105, 150, 195, 240, 285)
_VGG_SIDES = (30, 60, 111, 162, 213, 264, 315)


@dataclass(frozen=True, slots=True)
class _Level:
    """One map. columns, rows: of cells; step: width and height of a cell, relative to the input."""

    columns: int
    rows: int
    step: tuple[float, float]
    shapes: Sequence[_Shape]

    def priors(self) -> Float32:
        """Center and size (N, 4), relative to the input, the priors of one cell in succession."""
        row, column, index = np.indices((self.rows, self.columns, len(self.shapes))).reshape(3, -1)
        center = np.stack([(column + 0.5) * self.step[0], (row + 0.5) * self.step[1]], axis=1)
        return np.concatenate([center, np.array(self.shapes)[index]], axis=1).astype(np.float32)


def sources(input_size: Size, count: int) -> tuple[Source, ...]:
    """The sources whose models have so many priors."""
    return tuple(
        source for source, rule in _RULES.items() if any(_count(levels) == count for levels in rule(input_size))
    )


def priors(source: Source, input_size: Size, count: int) -> Float32 | None:
    """Center and size (N, 4), relative to the input; None if the source has no model with so many."""
    for levels in _RULES[source](input_size):
        if _count(levels) == count:
            found = np.concatenate([level.priors() for level in levels])
            return np.clip(found, 0, 1) if source == "pytorch" else found
    return None


def _count(levels: Sequence[_Level]) -> int:
    return sum(level.columns * level.rows * len(level.shapes) for level in levels)


def _ratios(side: float, ratios: Sequence[float]) -> list[_Shape]:
    """For each aspect ratio, a wide and a high prior with the area of a square."""
    return [(side * root**sign, side / root**sign) for root in np.sqrt(ratios).tolist() for sign in (1, -1)]


def _squares_first(side: float, next_side: float, ratios: Sequence[float]) -> list[_Shape]:
    between = float(np.sqrt(side * next_side))
    return [(side, side), (between, between), *_ratios(side, ratios)]


def _of_pixels(cells: Sequence[int], steps: Sequence[float], shapes: Sequence[Sequence[_Shape]]) -> list[_Level]:
    """Levels of a 300 x 300 input. steps, shapes: in pixels."""
    scale = _PUBLISHED[0]
    return [
        _Level(n, n, (step / scale, step / scale), [(width / scale, height / scale) for width, height in of_cell])
        for n, step, of_cell in zip(cells, steps, shapes)
    ]


def _caffe(size: Size) -> list[list[_Level]]:
    if size != _PUBLISHED:
        return []
    sides = [*_MOBILE_SIDES, 300]
    shapes = [[(60.0, 60.0), *_ratios(60, _HALF)]]
    shapes += [_squares_first(sides[i], sides[i + 1], _MORE) for i in range(1, 6)]
    return [_of_pixels(_MOBILE, [300 / n for n in _MOBILE], shapes), _vgg()]


def _pytorch(size: Size) -> list[list[_Level]]:
    if size != _PUBLISHED:
        return []
    sides = [*_MOBILE_SIDES, 330]
    shapes = [_squares_first(sides[i], sides[i + 1], _MORE) for i in range(6)]
    return [_of_pixels(_MOBILE, (16, 32, 64, 100, 150, 300), shapes), _vgg()]


def _vgg() -> list[_Level]:
    sides = _VGG_SIDES
    return _of_pixels(
        _VGG, _VGG_STEPS, [_squares_first(sides[i], sides[i + 1], ratios) for i, ratios in enumerate(_VGG_RATIOS)]
    )


def _torchvision(size: Size) -> list[list[_Level]]:
    """SSDLite of any size, and SSD300, whose shapes are clipped to the input."""
    scales = [*np.linspace(0.2, 0.95, 6).tolist(), 1.0]
    shapes = [_squares_first(scales[i], scales[i + 1], _MORE) for i in range(6)]
    found = [_halved(size, [[(min(w, 1), min(h, 1)) for w, h in of_cell] for of_cell in shapes])]
    if size == _PUBLISHED:
        sides = [21, 45, 99, 153, 207, 261, 315]
        large = [_squares_first(sides[i], sides[i + 1], ratios) for i, ratios in enumerate(_VGG_RATIOS)]
        clipped = [[(min(w, 300), min(h, 300)) for w, h in of_cell] for of_cell in large]
        found.append(_of_pixels(_VGG, _VGG_STEPS, clipped))
    return found


def _tensorflow(size: Size) -> list[list[_Level]]:
    """SSD with MobileNet: the lowest map has three priors."""
    scales = [*np.linspace(0.2, 0.95, 6).tolist(), 1.0]
    shapes: list[list[_Shape]] = [[(0.1, 0.1), *_ratios(0.2, _HALF)]]
    for side, following in pairwise(scales[1:]):
        square, between, *others = _squares_first(side, following, _MORE)
        shapes.append([square, *others, between])
    return [_halved(size, shapes)]


def _halved(size: Size, shapes: Sequence[Sequence[_Shape]]) -> list[_Level]:
    """Levels from stride 16 on, each of half the size of the one before."""
    found = []
    columns, rows = (max(1, -(-n // 16)) for n in size)
    for of_cell in shapes:
        found.append(_Level(columns, rows, (1 / columns, 1 / rows), of_cell))
        columns, rows = (columns + 1) // 2, (rows + 1) // 2
    return found


_RULES: dict[Source, Callable[[Size], list[list[_Level]]]] = {
    "caffe": _caffe, "pytorch": _pytorch, "torchvision": _torchvision, "tensorflow": _tensorflow
}  # fmt: skip
