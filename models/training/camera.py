"""The effects of light and camera on a scene: shadow, darkness, blur, a covered lens, noise and compression.

scenes.py decides which of them an image gets. Images are float32 RGB, 0..255, until `expose` returns uint8.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

import backdrops
from backdrops import Picture, Rng

OK, DARK, BLURRED, COVERED, UNSURE = 0, 1, 2, 3, -1
DARK_P95, LIT_P95 = (
    42.0,
    75.0,
)  # 95th percentile of luma: dark below the first, ok above the second, not trained between
SHARP_SIGMA, BLURRED_SIGMA = 1.25, 2.6  # the same for Gaussian blur, pixels at 320 x 320
SHARP_SMEAR, BLURRED_SMEAR = 4.0, 9.0  # and for motion blur
COVERED_SHARE = 0.88  # of the image; above this, a near hand or cloth counts as a covered camera


@dataclass(frozen=True, slots=True)
class Camera:
    """Camera quality: greatest noise (gray levels) and blur (pixels at 320 x 320), and the probability of JPEG."""

    scale: float = 1.0  # image pixels per pixel of the network's 320 x 320 input
    noise: float = 6.0
    blur: float = 1.1
    compressed: float = 0.4

    def see(self, rng: Rng, picture: Picture, kind: int, doubtful: bool) -> tuple[Picture, int]:
        """Apply light and lens effects according to `kind`.

        doubtful: let some dark and blurred images be between ok and bad; their kind is then UNSURE.
        """
        unsure = doubtful and rng.random() < 0.05
        if kind == COVERED:
            picture = covered(rng, picture)
        picture = _set_brightness(rng, _uneven_light(rng, picture), kind, unsure)
        if kind == BLURRED and unsure:
            soft, smear = (SHARP_SIGMA, BLURRED_SIGMA), (SHARP_SMEAR, BLURRED_SMEAR)
        elif kind == BLURRED:
            soft, smear = (BLURRED_SIGMA, 9.0), (BLURRED_SMEAR, 36.0)
        else:
            soft, smear = (0.0, self.blur), (0.0, SHARP_SMEAR)
        if (kind == BLURRED and rng.random() < 0.4) or (kind != BLURRED and rng.random() < 0.1):
            picture = _motion_blurred(picture, rng.uniform(*smear) * self.scale, rng.uniform(0, np.pi))
        elif kind == BLURRED or rng.random() < 0.7:
            sigma = rng.uniform(*soft) * self.scale
            picture = _defocused(picture, sigma, disc=kind == BLURRED and rng.random() < 0.5)
        return picture, UNSURE if unsure and kind in (DARK, BLURRED) else kind

    def expose(self, rng: Rng, picture: Picture, kind: int) -> NDArray[np.uint8]:
        """Sensor noise, clipping and compression."""
        sigma = rng.uniform(0.3, self.noise) if kind == DARK else self.noise * rng.random() ** 2
        picture = picture + rng.standard_normal(picture.shape, dtype=np.float32) * np.float32(sigma)
        image = np.clip(picture + 0.5, 0, 255).astype(np.uint8)
        if rng.random() < self.compressed:
            quality = int(rng.integers(35, 95))
            packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
            image = cv2.imdecode(packed, cv2.IMREAD_COLOR)
        return image


def _uneven_light(rng: Rng, picture: Picture) -> Picture:
    """Apply uneven light, and sometimes a shadow."""
    height, width = picture.shape[:2]
    picture = picture * backdrops.gradient(rng, height, width, float(rng.uniform(0, 0.6)))
    if rng.random() < 0.3:
        corners = cv2.convexHull((rng.uniform(-0.3, 1.3, (5, 2)) * (width, height)).astype(np.int32))
        shade = cv2.fillConvexPoly(np.zeros((height, width), np.float32), corners, 1.0)
        soft = 2 * int(rng.integers(1, 15)) + 1
        picture = picture * (1 - rng.uniform(0.1, 0.55) * cv2.blur(shade, (soft, soft))[:, :, None])
    return picture


def _set_brightness(rng: Rng, picture: Picture, kind: int, unsure: bool) -> Picture:
    """Scale the 95th percentile of luma to a level that fits the kind."""
    p95 = max(float(np.percentile(picture[::3, ::3].mean(2), 95)), 1.0)
    if kind == DARK:
        level = rng.uniform(*((DARK_P95, LIT_P95) if unsure else (1.0, DARK_P95)))
    elif rng.random() < 0.2:
        level = rng.uniform(LIT_P95, 110)  # dim, but still ok
    else:
        level = rng.uniform(110, 265)
    lift = min(rng.uniform(0, 12), level / 2)
    return picture * np.float32((level - lift) / p95) + np.float32(lift)


def covered(rng: Rng, picture: Picture) -> Picture:
    """Cover nearly the whole lens with something near and out of focus."""
    height, width = picture.shape[:2]
    near = backdrops.lens_cover(rng, height, width)
    cover = np.ones((height, width), np.float32)
    if rng.random() < 0.5:  # a strip at one side stays free, with a blurred edge
        angle, share = rng.uniform(0, 2 * np.pi), rng.uniform(COVERED_SHARE, 1.0)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        depth = np.cos(angle) * x + np.sin(angle) * y
        cover = np.clip((np.quantile(depth[::4, ::4], share) - depth) / rng.uniform(2, 40) + 0.5, 0, 1)
    if rng.random() < 0.25:  # thin cloth: the scene shines through
        cover = cover * rng.uniform(0.85, 1.0)
    return picture + cover[:, :, None] * (near - picture)


def _defocused(picture: Picture, sigma: float, disc: bool) -> Picture:
    if sigma < 0.2:
        return picture
    if not disc:
        return cv2.GaussianBlur(picture, (0, 0), sigma)
    radius = max(1, round(sigma * 1.6))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1)).astype(np.float32)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())


def _motion_blurred(picture: Picture, length: float, angle: float) -> Picture:
    half = max(1, round(length / 2))
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.float32)
    dx, dy = half * np.cos(angle), half * np.sin(angle)
    cv2.line(kernel, (round(half - dx), round(half - dy)), (round(half + dx), round(half + dy)), 1.0, 1)
    return cv2.filter2D(picture, -1, kernel / kernel.sum())
