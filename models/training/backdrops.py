"""Walls, clutter, hands and light, generated from noise: everything in a scene except digits.

No photographs are used, and training scenes contain nothing of the sample clip's scene (clip.py).
Images are float32 RGB, 0..255.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Rng = np.random.Generator
Picture = NDArray[np.float32]


def noise(rng: Rng, height: int, width: int, cell: float, octaves: int = 3) -> Picture:
    """Smooth fractal noise (height, width), mean about 0, deviation about 1. cell: pixels of the coarsest octave."""
    total = np.zeros((height, width), np.float32)
    amplitude, power = 1.0, 0.0
    for _ in range(octaves):
        shape = (max(2, round(height / cell) + 2), max(2, round(width / cell) + 2))
        lumps = rng.standard_normal(shape, dtype=np.float32)
        total += amplitude * cv2.resize(lumps, (width, height), interpolation=cv2.INTER_CUBIC)
        power += amplitude**2
        amplitude, cell = amplitude * 0.6, max(1.5, cell / 2.5)
    return total / np.float32(np.sqrt(power) * 0.75)


def gradient(rng: Rng, height: int, width: int, depth: float) -> Picture:
    """A brightness gradient (height, width, 1) from 1 - depth to 1, linear or around a spot."""
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        ramp = (np.cos(angle) * x + np.sin(angle) * y) / 2.9 + 0.5
    else:
        spot_x, spot_y = rng.uniform(-1, 1, 2)
        ramp = np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / rng.uniform(0.6, 3))
    return (1 - depth + depth * ramp.astype(np.float32))[:, :, None]


def color(rng: Rng, low: float, high: float, saturation: float = 0.35) -> Picture:
    """A random color (3,), mostly grayish, with a mean between low and high."""
    tint = 1 + rng.uniform(-1, 1, 3) * saturation * rng.random() ** 1.5
    return (rng.uniform(low, high) * tint / tint.mean()).astype(np.float32)


def wall(rng: Rng, height: int, width: int) -> Picture:
    """A surface: plaster, wood, brick, tiles, stripes or cloth."""
    base = color(rng, 30, 215)
    kind = rng.integers(6)
    grain = rng.uniform(1, 14)
    if kind == 1:  # wood
        relief = noise(rng, height, max(4, width // 12), 20)
        relief = cv2.resize(relief, (width, height), interpolation=cv2.INTER_LINEAR)
    elif kind == 4:  # cloth, sheet metal
        period = rng.uniform(3, 20)
        angle = rng.uniform(0, np.pi)
        y, x = np.mgrid[0:height, 0:width].astype(np.float32)
        phase = (np.cos(angle) * x + np.sin(angle) * y) * (2 * np.pi / period) + 2 * noise(rng, height, width, 90, 1)
        relief = np.sin(phase) + 0.5 * noise(rng, height, width, 6, 2)
    else:
        relief = noise(rng, height, width, float(rng.choice([4, 15, 60])), 4)
    picture = base + (grain * relief)[:, :, None] * (0.4 + 0.6 * base / max(float(base.max()), 1.0))
    if kind in (2, 3):
        _courses(rng, picture, brick=kind == 2)
    return picture.astype(np.float32)


def _courses(rng: Rng, picture: Picture, brick: bool) -> None:
    height, width = picture.shape[:2]
    step_y = int(rng.integers(14, 70))
    step_x = int(step_y * (rng.uniform(1.6, 2.6) if brick else 1))
    joint = color(rng, 40, 220).tolist()
    thick = int(rng.integers(1, 4))
    for row, y in enumerate(range(0, height, step_y)):
        offset = step_x // 2 if brick and row % 2 else 0
        for x in range(-offset, width, step_x):
            picture[y : y + step_y, max(x, 0) : max(x + step_x, 0)] *= rng.uniform(0.85, 1.1)
            cv2.line(picture, (x, y), (x, y + step_y), joint, thick, cv2.LINE_AA)
        cv2.line(picture, (0, y), (width, y), joint, thick, cv2.LINE_AA)


def clutter(rng: Rng, picture: Picture, pieces: int) -> None:
    """Draw boxes, pipes, cables, discs and edges onto an image, with shading and shadows."""
    height, width = picture.shape[:2]
    for _ in range(pieces):
        kind = rng.integers(5)
        if kind == 0:
            _box(rng, picture)
        elif kind == 1:
            _pipe(rng, picture)
        elif kind == 2:
            _cable(rng, picture)
        elif kind == 3:
            _disc(rng, picture)
        else:  # another surface with an edge
            corners = rng.uniform(-0.3, 1.3, (4, 2)) * (width, height)
            hull = cv2.convexHull(corners.astype(np.int32))
            cv2.fillConvexPoly(picture, hull, color(rng, 15, 235).tolist(), cv2.LINE_AA)


def _cable(rng: Rng, picture: Picture) -> None:
    height, width = picture.shape[:2]
    points = rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)
    t = np.linspace(0, 1, 24)[:, None]
    curve = (
        (1 - t) ** 3 * points[0] + 3 * t * (1 - t) ** 2 * points[1] + 3 * t**2 * (1 - t) * points[2] + t**3 * points[3]
    )
    tone = color(rng, 10, 240).tolist()
    cv2.polylines(picture, [curve.astype(np.int32)], False, tone, int(rng.integers(1, 6)), cv2.LINE_AA)


def _disc(rng: Rng, picture: Picture) -> None:
    """A screw or a dial."""
    height, width = picture.shape[:2]
    center = tuple(int(v) for v in rng.uniform(0, 1, 2) * (width, height))
    radius = int(rng.uniform(2, 40))
    cv2.circle(picture, center, radius + 2, color(rng, 10, 90).tolist(), -1, cv2.LINE_AA)
    cv2.circle(picture, center, radius, color(rng, 30, 240).tolist(), -1, cv2.LINE_AA)
    if radius <= 12:
        return
    # spokes, scale marks or a pointer; a bare ring would look like a zero
    inner = rng.choice([0.0, rng.uniform(0.4, 0.9)])
    tone = color(rng, 0, 255).tolist()
    for angle in rng.uniform(0, 7) + np.linspace(0, rng.uniform(2, 6.3), int(rng.integers(2, 26))):
        way = np.array([np.cos(angle), np.sin(angle)]) * radius
        ends = (center + inner * way).astype(int).tolist(), (center + way).astype(int).tolist()
        cv2.line(picture, *ends, tone, 1, cv2.LINE_AA)
    tip = (center + rng.normal(0, 0.4, 2) * radius).astype(int).tolist()
    cv2.line(picture, center, tip, color(rng, 0, 255).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)


def decoys(rng: Rng, picture: Picture, pieces: int, scale: float) -> None:
    """Draw objects that resemble digits: dials with scales, bent cables, brackets, screws.

    scale: image pixels per pixel of the network's input.
    """
    for _ in range(pieces):
        center = rng.uniform(0, 1, 2) * picture.shape[1::-1]
        size = float(np.exp(rng.uniform(np.log(6), np.log(55)))) * scale
        kind = rng.integers(4)
        if kind == 0:
            _dial(rng, picture, center, size)
        elif kind == 1:  # a cable, with or without a long last piece
            way = np.cumsum(rng.normal(0, 1, (5, 2)), 0)
            way = center + (way - way[0]) * size * rng.uniform(0.5, 1.2)
            way[-1] += (way[-1] - way[-2]) * rng.choice([0, 8])
            _stroke(rng, picture, way, scale * rng.uniform(1.5, 7))
        elif kind == 2:  # a bracket, a handle: part of a ring, or an angle
            turn = rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(0.8, 4.5), int(rng.choice([3, 14])))
            way = center + np.stack([np.cos(turn), np.sin(turn)], 1) * size * rng.uniform(0.4, 1, 2)
            way = np.concatenate([way, way[-1:] + rng.normal(0, size * 1.5, (1, 2))])
            _stroke(rng, picture, way, scale * rng.uniform(1.5, 6))
        else:
            spot, radius = center.astype(int).tolist(), max(2, int(size / 5))
            cv2.circle(picture, spot, radius + 1, color(rng, 5, 90).tolist(), -1, cv2.LINE_AA)
            cv2.circle(picture, spot, radius, color(rng, 60, 230).tolist(), -1, cv2.LINE_AA)
            slot = (radius * 0.8 * np.array([np.cos(size), np.sin(size)])).astype(int)
            cv2.line(
                picture, (center - slot).astype(int).tolist(), (center + slot).astype(int).tolist(), (60, 60, 60), 1
            )


def _dial(rng: Rng, picture: Picture, center: NDArray[np.float64], radius: float) -> None:
    spot, tone = center.astype(int).tolist(), color(rng, 0, 255).tolist()
    for share in (1.0, rng.uniform(0.82, 0.95)):
        cv2.circle(picture, spot, max(2, int(radius * share)), color(rng, 10, 245).tolist(), -1, cv2.LINE_AA)
    outer = rng.uniform(0.6, 0.85)
    inner = outer - rng.uniform(0.08, 0.3)
    first, span, marks = rng.uniform(0, 2 * np.pi), rng.uniform(2, 6.3), int(rng.integers(5, 31))
    thick = max(1, int(radius * rng.uniform(0.01, 0.07)))
    for angle in np.linspace(first, first + span, marks):
        way = np.array([np.cos(angle), np.sin(angle)]) * radius
        ends = (center + inner * way).astype(int).tolist(), (center + outer * way).astype(int).tolist()
        cv2.line(picture, *ends, tone, thick, cv2.LINE_AA)
    angle = rng.uniform(0, 2 * np.pi)
    way = np.array([np.cos(angle), np.sin(angle)]) * radius
    tip, tail = (center + rng.uniform(0.4, 0.8) * way).astype(int), (center - rng.uniform(0, 0.2) * way).astype(int)
    cv2.line(picture, tail.tolist(), tip.tolist(), color(rng, 0, 255).tolist(), thick + 1, cv2.LINE_AA)
    cv2.circle(picture, spot, thick + 2, tone, -1, cv2.LINE_AA)


def _stroke(rng: Rng, picture: Picture, way: NDArray[np.float64], thick: float) -> None:
    """A smooth line through the points (N, 2), with its shadow."""
    t = np.linspace(0, len(way) - 1, 40)
    smooth = np.stack(
        [np.convolve(np.interp(t, range(len(way)), way[:, i]), np.ones(7) / 7, "valid") for i in (0, 1)], 1
    )
    for shift, tone in ((rng.uniform(1, 5, 2), color(rng, 10, 90)), (np.zeros(2), color(rng, 5, 240))):
        cv2.polylines(
            picture, [(smooth + shift).astype(np.int32)], False, tone.tolist(), max(1, int(thick)), cv2.LINE_AA
        )


def _box(rng: Rng, picture: Picture) -> None:
    height, width = picture.shape[:2]
    w, h = rng.uniform(0.06, 0.6, 2) * (width, height)
    center = rng.uniform(0, 1, 2) * (width, height)
    corners = cv2.boxPoints(((float(center[0]), float(center[1])), (float(w), float(h)), float(rng.normal(0, 6))))
    shadow = (corners + rng.uniform(2, 8, 2)).astype(np.int32)
    dark = np.ones(picture.shape[:2], np.float32)
    cv2.fillConvexPoly(dark, shadow, float(rng.uniform(0.4, 0.85)))
    picture *= cv2.blur(dark, (7, 7))[:, :, None]
    face = color(rng, 20, 235)
    cv2.fillConvexPoly(picture, corners.astype(np.int32), face.tolist(), cv2.LINE_AA)
    cv2.polylines(
        picture,
        [corners.astype(np.int32)],
        True,
        (face * rng.uniform(0.4, 1.3)).tolist(),
        int(rng.integers(1, 4)),
        cv2.LINE_AA,
    )


def _pipe(rng: Rng, picture: Picture) -> None:
    height, width = picture.shape[:2]
    thick = rng.uniform(6, 46)
    start = rng.uniform(-0.1, 1.1, 2) * (width, height)
    upright = rng.random() < 0.5
    slant = rng.normal(0, 15)
    end = start + np.array([slant, height * 1.5] if upright else [width * 1.5, slant])
    start = 2 * start - end
    body = color(rng, 30, 200)
    for share in np.linspace(1, 0.1, 7):  # rings from the rim to the highlight
        shift = np.array([-(1 - share) * thick * 0.18] * 2)
        tone = body * (0.45 + 0.75 * (1 - share))
        points = ((start + shift).astype(int).tolist(), (end + shift).astype(int).tolist())
        cv2.line(picture, points[0], points[1], tone.tolist(), max(1, int(thick * share)), cv2.LINE_AA)


@dataclass(frozen=True, slots=True)
class Arm:
    """A hand, glove or sleeve. tip (2,): fingertip, pixels; away (2,): unit vector from the tip towards the arm."""

    tip: Picture
    away: Picture
    palm: float  # its width, pixels
    fingers: int
    skin: Picture  # (3,)


def random_arm(rng: Rng, tip: Picture, palm: float) -> Arm:
    """An arm pointing at `tip` from a random direction."""
    angle = rng.uniform(0, 2 * np.pi)
    skin = color(rng, 60, 190) * np.float32([1.18, 0.98, 0.84]) if rng.random() < 0.75 else color(rng, 20, 220)
    return Arm(tip, np.array([np.cos(angle), np.sin(angle)]), palm, int(rng.integers(1, 5)), skin)


def reach(rng: Rng, height: int, width: int, arm: Arm) -> tuple[Picture, Picture]:
    """Draw an arm. Returns its colors (height, width, 3) and its coverage (height, width), 0..1."""
    cover, lit = np.zeros((height, width), np.uint8), np.zeros((height, width), np.uint8)
    side = np.array([-arm.away[1], arm.away[0]])
    knuckles = arm.tip + arm.away * arm.palm * 0.75
    for i in range(arm.fingers):
        aside = i - (arm.fingers - 1) / 2
        offset = side * arm.palm * 0.26 * aside
        end = arm.tip + offset + arm.away * arm.palm * abs(aside) * 0.12
        _limb(cover, lit, end, knuckles + offset, arm.palm * 0.25)
    _limb(cover, lit, knuckles + arm.away * arm.palm * 0.15, knuckles + arm.away * arm.palm * 0.7, arm.palm * 0.95)
    _limb(
        cover,
        lit,
        knuckles + arm.away * arm.palm * 0.5,
        knuckles + arm.away * (arm.palm + height + width),
        arm.palm * 0.72,
    )
    soft = 4 * int(arm.palm / 14) + 3
    light = cv2.blur(lit, (soft, soft)).astype(np.float32) / 255
    tone = 0.62 + 0.42 * light + 0.03 * noise(rng, height, width, float(rng.choice([18, 50])), 2)
    edge = cv2.GaussianBlur(cover, (0, 0), 0.8).astype(np.float32) / 255
    return (arm.skin * tone[:, :, None]).astype(np.float32), edge


def _limb(cover: NDArray[np.uint8], lit: NDArray[np.uint8], start: Picture, end: Picture, thick: float) -> None:
    a, b = start.astype(int).tolist(), end.astype(int).tolist()
    cv2.line(cover, a, b, 255, max(2, int(thick)), cv2.LINE_AA)
    cv2.line(lit, a, b, 255, max(1, int(thick * 0.55)), cv2.LINE_AA)


def lens_cover(rng: Rng, height: int, width: int) -> Picture:
    """A palm, cloth, tape or paper close to the lens: (height, width, 3), with little detail."""
    base = color(rng, 25, 225, 0.6)
    if rng.random() < 0.4:
        base = base * np.array([1.25, 0.95, 0.8], np.float32)
    folds = noise(rng, height, width, float(rng.uniform(60, 200)), 1) * rng.uniform(0, 0.18)
    picture = base * (1 + folds)[:, :, None] * gradient(rng, height, width, float(rng.uniform(0.1, 0.8)))
    if rng.random() < 0.3:  # weave of a cloth
        picture += (noise(rng, height, width, float(rng.uniform(2, 6)), 1) * rng.uniform(1, 7))[:, :, None]
    if rng.random() < 0.3:  # light seeping in at a side
        picture += (gradient(rng, height, width, 1.0) ** 3) * rng.uniform(20, 120)
    return np.clip(picture, 0, 255).astype(np.float32)
