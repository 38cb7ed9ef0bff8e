"""Handwritten digits as ink: loading them, the held-out set, and random distortion to imitate other handwriting.

Not here: placing ink in a scene (scenes.py).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
SIDE = 20  # pixels of one crop of digits.png
ROWS, COLUMNS, HELD_OUT_COLUMNS = 50, 100, 10
INK = 64  # pixels of one rendered glyph
INK_EDGE = 0.4  # coverage above which a pixel counts as ink
_SHEET_X, _SHEET_Y = np.meshgrid(
    *[np.linspace(-14, 14, INK, dtype=np.float32)] * 2
)  # coordinates of the rendered glyph, in crop pixels

LETTERS = "ACEFHKMNPRTUVWXYadefhkmnprtuvwxy%&#=?"  # no digit look-alikes
FONTS = (cv2.FONT_HERSHEY_SIMPLEX, cv2.FONT_HERSHEY_DUPLEX, cv2.FONT_HERSHEY_TRIPLEX,
         cv2.FONT_HERSHEY_SCRIPT_SIMPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX, cv2.FONT_HERSHEY_COMPLEX)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Glyphs:
    """crops (N, 20, 20) uint8, ink white on black; labels (N,) int64, 0..9, or -1 for other characters."""

    crops: NDArray[np.uint8]
    labels: NDArray[np.int64]


def load(path: Path | None) -> tuple[Glyphs, Glyphs]:
    """The training glyphs, and the held-out ones: the last tenth of every row of `path` (OpenCV's digits.png).

    Without a file, scikit-learn's 8x8 digits are used, with a warning. Raises ValueError if the image is not
    2000 x 1000.
    """
    if path is None:
        warnings.warn("no digits.png: training on scikit-learn's 8x8 digits, accuracy will be lower", stacklevel=2)
        return _sklearn_digits()
    sheet = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    expected = (ROWS * SIDE, COLUMNS * SIDE)
    if sheet is None or sheet.shape != expected:
        found = "no image" if sheet is None else f"{sheet.shape[1]}x{sheet.shape[0]}"
        raise ValueError(f"{path}: found {found}, expected {expected[1]}x{expected[0]} (OpenCV's digits.png)")
    crops = sheet.reshape(ROWS, SIDE, COLUMNS, SIDE).swapaxes(1, 2)  # (50, 100, 20, 20)
    labels = np.repeat(np.arange(10), ROWS // 10)[:, None].repeat(COLUMNS, 1)
    cut = COLUMNS - HELD_OUT_COLUMNS
    return (
        Glyphs(crops[:, :cut].reshape(-1, SIDE, SIDE), labels[:, :cut].ravel()),
        Glyphs(crops[:, cut:].reshape(-1, SIDE, SIDE), labels[:, cut:].ravel()),
    )


def _sklearn_digits() -> tuple[Glyphs, Glyphs]:
    from sklearn.datasets import load_digits

    data = load_digits()
    crops = np.stack(
        [cv2.resize((8 * c).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for c in data.images]
    )
    held = np.arange(len(crops)) % HELD_OUT_COLUMNS == HELD_OUT_COLUMNS - 1
    labels = data.target.astype(np.int64)
    return Glyphs(crops[~held], labels[~held]), Glyphs(crops[held], labels[held])


def letters() -> Glyphs:
    """Characters other than digits, in the size and stroke width of digits.png, as negatives."""
    crops = []
    for font in FONTS:
        for letter in LETTERS:
            canvas = np.zeros((80, 80), np.uint8)
            (w, h), _ = cv2.getTextSize(letter, font, 2.0, 6)
            cv2.putText(canvas, letter, ((80 - w) // 2, (80 + h) // 2), font, 2.0, 255, 6, cv2.LINE_AA)
            crops.append(cv2.resize(canvas, (SIDE, SIDE), interpolation=cv2.INTER_AREA))
    return Glyphs(np.stack(crops), np.full(len(crops), -1, np.int64))


@dataclass(frozen=True, slots=True)
class Hand:
    """One handwriting: limits of the random distortion in `ink`. Zeros leave the crop unchanged."""

    turn: float = 0.0  # radians
    shear: float = 0.0
    stretch: float = 0.0  # share of the size, of each axis
    wobble: float = 0.0  # displacement of points, crop pixels
    threshold: float = 0.5  # coverage at the edge of a stroke: lower is bolder
    softness: float = 0.12  # width of that edge


STEADY = Hand()


@dataclass(frozen=True, slots=True)
class Ink:
    """A rendered character: coverage (64, 64) float32 0..1, trimmed to its ink, with its proportions kept.

    points: (K, 2) float32, x and y of the pixels with ink. label: -1 if it is not a digit.
    """

    coverage: NDArray[np.float32]
    points: NDArray[np.float32]
    label: int


def random_hand(rng: Rng, wild: float = 1.0) -> Hand:
    """A random handwriting for training, varied enough for many epochs. wild: from 0, no distortion, to 1."""
    return Hand(
        turn=0.16 * wild,
        shear=0.22 * wild,
        stretch=0.18 * wild,
        wobble=wild * rng.uniform(0.1, 0.65),
        threshold=rng.uniform(0.22, 0.66),
        softness=rng.uniform(0.06, 0.25),
    )


def ink(crop: NDArray[np.uint8], label: int, hand: Hand, rng: Rng) -> Ink:
    """Render a 20x20 crop in a handwriting. The longer side of the ink fills the square; the shorter is centered."""
    turn, shear = rng.uniform(-1, 1, 2) * (hand.turn, hand.shear)
    stretch = 1 + rng.uniform(-1, 1, 2) * hand.stretch
    cos, sin = np.cos(turn), np.sin(turn)
    linear = np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, shear], [0, 1]]) @ np.diag(stretch)
    linear = linear.astype(np.float32)
    map_x = linear[0, 0] * _SHEET_X + linear[0, 1] * _SHEET_Y + np.float32(9.5)
    map_y = linear[1, 0] * _SHEET_X + linear[1, 1] * _SHEET_Y + np.float32(9.5)
    if hand.wobble:
        shift = rng.normal(0, hand.wobble, (2, 5, 5)).astype(np.float32)
        map_x += cv2.resize(shift[0], (INK, INK), interpolation=cv2.INTER_CUBIC)
        map_y += cv2.resize(shift[1], (INK, INK), interpolation=cv2.INTER_CUBIC)
    drawn = cv2.remap(crop, map_x, map_y, cv2.INTER_CUBIC, borderValue=0).astype(np.float32) / 255
    peak = max(float(drawn.max()), 1e-3)
    coverage = np.clip(
        drawn * np.float32(1 / peak / hand.softness) + np.float32(0.5 - hand.threshold / hand.softness), 0, 1
    )
    coverage[:2], coverage[-2:], coverage[:, :2], coverage[:, -2:] = 0, 0, 0, 0
    coverage = _trimmed(coverage)
    points = np.argwhere(coverage > INK_EDGE)[:, ::-1].astype(np.float32) + np.float32(0.5)
    return Ink(coverage, points, label)


def _trimmed(coverage: NDArray[np.float32]) -> NDArray[np.float32]:
    rows, columns = np.flatnonzero((coverage > INK_EDGE).any(1)), np.flatnonzero((coverage > INK_EDGE).any(0))
    if len(rows) == 0:
        return coverage
    top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    half = (max(bottom - top, right - left) + 2) / 2
    grow = INK / (2 * half)
    center_x, center_y = (left + right) / 2, (top + bottom) / 2
    place = np.array([[grow, 0, INK / 2 - grow * center_x], [0, grow, INK / 2 - grow * center_y]])
    return cv2.warpAffine(coverage, place, (INK, INK), flags=cv2.INTER_LINEAR)
