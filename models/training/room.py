"""The pump room of the sample clip: wall, pipes, a gauge, a meter's housing. Training scenes contain none of it.

Images are float32 RGB, 0..255, drawn at twice the clip's size for clean edges.
"""

from __future__ import annotations

import cv2
import numpy as np

import backdrops
from backdrops import Picture

WIDTH, HEIGHT = 640, 480
LABEL = np.array([[203, 196], [447, 208], [442, 297], [201, 288]], np.float32)  # corners of the label, frame pixels
UP = 2


def pump_room(rng: np.random.Generator) -> Picture:
    """The empty scene (480, 640, 3): wall, pipes, a gauge and the meter's housing, without the label."""
    height, width = HEIGHT * UP, WIDTH * UP
    room = np.full((height, width, 3), (164, 160, 148), np.float32)
    room[int(height * 0.69) :] = (96, 110, 118)  # painted dado
    cv2.line(room, (0, int(height * 0.69)), (width, int(height * 0.69)), (70, 74, 76), 6)
    stains = (
        backdrops.noise(rng, height, width, 240, 4) * 5 + np.minimum(backdrops.noise(rng, height, width, 130, 3), 0) * 6
    )
    room += (stains + backdrops.noise(rng, height, width, 3, 1) * 2.2)[:, :, None]
    for x, thick, tone in ((104, 64, (122, 120, 112)), (1196, 44, (136, 96, 72))):
        _pipe(room, (x, -20), (x, height + 20), thick, tone)
        for y in (170, 690):
            _pipe(room, (x - thick * 0.75, y), (x + thick * 0.75, y), 40, tuple(0.9 * t for t in tone))
    _pipe(room, (104, 826), (1196, 826), 38, (122, 120, 112))
    _gauge(room, (1010, 190), 92)
    _housing(room)
    cable = np.array([[640 + 60 * np.sin(t / 9) + 5 * t, 236 - 4 * t] for t in range(70)], np.int32)
    cv2.polylines(room, [cable + np.array([4, 10])], False, (92, 90, 86), 11, cv2.LINE_AA)
    cv2.polylines(room, [cable], False, (38, 38, 42), 11, cv2.LINE_AA)
    return cv2.resize(np.clip(room, 0, 255), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _shaded(room: Picture, draw_mask: Picture, offset: tuple[int, int], strength: float) -> None:
    """Draw the soft shadow of a mask."""
    moved = cv2.warpAffine(
        draw_mask, np.array([[1, 0, offset[0]], [0, 1, offset[1]]], np.float32), draw_mask.shape[::-1]
    )
    room *= 1 - strength * cv2.GaussianBlur(moved, (0, 0), 14)[:, :, None]


def _pipe(
    room: Picture, start: tuple[float, float], end: tuple[float, float], thick: float, tone: tuple[float, ...]
) -> None:
    a, b = np.array(start), np.array(end)
    mask = np.zeros(room.shape[:2], np.float32)
    cv2.line(mask, a.astype(int).tolist(), b.astype(int).tolist(), 1.0, int(thick))
    _shaded(room, mask, (16, 14), 0.45)
    across = np.array([b[1] - a[1], a[0] - b[0]]) / max(float(np.hypot(*(b - a))), 1.0)
    for share in np.linspace(-1, 1, int(thick)):  # shade a cylinder line by line across its width
        glow = 0.42 + 0.62 * np.exp(-((share + 0.35) ** 2) / 0.22) + 0.12 * max(share - 0.6, 0)
        shift = -across * share * thick / 2
        cv2.line(room, (a + shift).astype(int).tolist(), (b + shift).astype(int).tolist(), [t * glow for t in tone], 2)


def _gauge(room: Picture, center: tuple[int, int], radius: int) -> None:
    mask = cv2.circle(np.zeros(room.shape[:2], np.float32), center, radius, 1.0, -1)
    _shaded(room, mask, (18, 18), 0.5)
    for shrink, tone in ((0, (54, 54, 58)), (5, (150, 150, 154)), (12, (60, 60, 62)), (16, (226, 224, 214))):
        cv2.circle(room, center, radius - shrink, tone, -1, cv2.LINE_AA)
    for angle in np.deg2rad(np.arange(135, 406, 15)):
        way = np.array([np.cos(angle), np.sin(angle)])
        inner, outer = (np.array(center) + way * r for r in (radius - 34, radius - 22))
        cv2.line(room, inner.astype(int).tolist(), outer.astype(int).tolist(), (50, 50, 50), 3, cv2.LINE_AA)
    cv2.line(room, (center[0] + 8, center[1] + 8), (center[0] - 44, center[1] - 38), (170, 40, 34), 5, cv2.LINE_AA)
    cv2.circle(room, center, 9, (40, 40, 40), -1, cv2.LINE_AA)


def _housing(room: Picture) -> None:
    corners = np.array([[330, 262], [978, 292], [964, 742], [324, 714]], np.int32)
    mask = cv2.fillConvexPoly(np.zeros(room.shape[:2], np.float32), corners, 1.0)
    _shaded(room, mask, (26, 30), 0.55)
    middle = corners.mean(0)
    for shrink, tone in ((1.0, (48, 66, 84)), (0.985, (98, 122, 144)), (0.955, (74, 98, 120))):
        cv2.fillConvexPoly(room, (middle + (corners - middle) * shrink).astype(np.int32), tone, cv2.LINE_AA)
    recess = np.array([LABEL.mean(0) + (p - LABEL.mean(0)) * 1.09 for p in LABEL]) * UP
    cv2.fillConvexPoly(room, recess.astype(np.int32), (40, 50, 60), cv2.LINE_AA)
    for x, y in corners:
        spot = (middle + (np.array([x, y]) - middle) * 0.9).astype(int)
        cv2.circle(room, spot.tolist(), 13, (44, 54, 64), -1, cv2.LINE_AA)
        cv2.circle(room, (spot - 2).tolist(), 10, (150, 156, 160), -1, cv2.LINE_AA)
        cv2.line(room, (spot - 7).tolist(), (spot + 4).tolist(), (70, 72, 76), 3, cv2.LINE_AA)
    engraved = np.zeros(room.shape[:2], np.uint8)
    cv2.putText(engraved, "WATER", (410, 366), cv2.FONT_HERSHEY_DUPLEX, 1.5, 255, 3, cv2.LINE_AA)
    cv2.putText(engraved, "FEED PUMP", (412, 676), cv2.FONT_HERSHEY_SIMPLEX, 1.1, 220, 2, cv2.LINE_AA)
    room += (engraved / np.float32(255))[:, :, None] * (np.float32([192, 200, 206]) - room)
