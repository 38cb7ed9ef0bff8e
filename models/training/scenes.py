"""Compose scenes with ground truth: digits on plates and loose, with the light, blur and noise of a camera.

Not here: backgrounds (backdrops.py), ink (glyphs.py), training targets (train.py).
Coordinates are pixels of the composed image, (0, 0) the upper left corner of the upper left pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

import backdrops
import glyphs
import plates
from backdrops import Picture, Rng
from camera import BLURRED, COVERED, DARK, OK, UNSURE, Camera
from canvas import NOT_JUDGED, Canvas, truth
from glyphs import Glyphs, Ink

PANEL_OUT, PANEL_IN, PANEL_UNSURE = 0, 1, 255
LETTERBOX = 114
DRAWN = 3000  # rendered digits cached for reuse: rendering one costs more than placing five

DEFAULT_CAMERA = Camera()


@dataclass(frozen=True, slots=True)
class Style:
    """The difficulty of scenes: ranges and probabilities."""

    digit: tuple[float, float] = (13.0, 82.0)  # heights, pixels of the network's 320 x 320 input
    tilt: float = 9.0  # standard deviation, degrees
    perspective: float = 0.07  # displacement of corners, as a share of the plate
    pitch: tuple[float, float] = (0.72, 1.15)  # distance between digits, in heights
    occluded: float = 0.2  # probabilities
    bad: float = 0.12
    loose: float = 0.2
    sheets: float = 0.75
    housed: float = 0.4
    decoys: int = 0  # at most
    wild: float = 0.7  # strength of glyphs.random_hand
    hand: glyphs.Hand | None = None  # in place of a random one
    camera: Camera = DEFAULT_CAMERA


PLAIN = Style()
BUSY = Style(digit=(14.0, 68.0), loose=0.3, decoys=9, wild=0.45)
CLEAR = Style((16.0, 56.0), tilt=7.0, perspective=0.06, occluded=0.1, bad=0.06, loose=0.4, decoys=8, wild=0.25)


@dataclass(slots=True)
class Scene:
    """image (H, W, 3) uint8 RGB; boxes (N, 4) float32 xyxy of the visible ink; labels (N,) int64;
    visible (N,) share of the ink; panel (H, W) uint8 PANEL_*; kind OK.. or UNSURE.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    visible: NDArray[np.float32]
    panel: NDArray[np.uint8]
    kind: int


class Composer:
    """Composes scenes from one set of glyphs. All random choices come from the given generator."""

    def __init__(self, digits: Glyphs, rng: Rng, style: Style = PLAIN, walls: int = 48) -> None:
        self.digits, self.style, self.rng = digits, style, rng
        self.side = round(400 * style.camera.scale)
        self.signs = [glyphs.ink(sign, -1, glyphs.random_hand(rng), rng) for sign in glyphs.letters().crops]
        self.drawn: list[Ink] = []
        self.walls = [self._wall() for _ in range(walls)]

    def _wall(self) -> NDArray[np.uint8]:
        picture = backdrops.wall(self.rng, self.side, self.side)
        backdrops.clutter(self.rng, picture, int(self.rng.integers(0, 14)))
        return np.clip(picture, 0, 255).astype(np.uint8)

    def compose(self, height: int, width: int, wanted: list[int] | None = None) -> Scene:
        """Compose one scene. wanted: the crops to show in it; None chooses them at random."""
        rng, style = self.rng, self.style
        canvas = Canvas(self._backdrop(height, width))
        backdrops.decoys(rng, canvas.picture, int(rng.integers(style.decoys + 1)), style.camera.scale)
        panel = np.zeros((height, width), np.uint8)
        on_plate = rng.random() >= style.loose
        left = list(wanted) if wanted is not None else None
        if on_plate:
            left = self._plate(canvas, panel, left)
            for _ in range(int(rng.choice(3, p=[0.5, 0.3, 0.2])) if wanted is None else 0):
                self._plate(canvas, panel, None)
        if left or (left is None and (not on_plate or rng.random() < 0.35)):
            self._loose(canvas, panel, left)
        self._signs(canvas)
        cover = np.zeros((height, width), np.float32)
        if rng.random() < style.occluded:
            self._occlude(canvas, cover)
        kind = OK if rng.random() >= style.bad else int(rng.choice([DARK, BLURRED, COVERED], p=[0.35, 0.35, 0.3]))
        picture, kind = style.camera.see(rng, canvas.picture, kind, doubtful=style.bad > 0)
        boxes, labels, visible = truth(canvas.ink, cover, np.clip(picture, 0, 255))
        if kind == UNSURE:
            visible = np.full_like(visible, NOT_JUDGED)
            panel[panel == PANEL_IN] = PANEL_UNSURE
        elif kind != OK:
            visible, panel = np.zeros_like(visible), np.zeros_like(panel)
        panel[(panel == PANEL_IN) & (cover > 0.5)] = PANEL_UNSURE
        return Scene(style.camera.expose(rng, picture, kind), boxes, labels, visible, panel, kind)

    def _backdrop(self, height: int, width: int) -> Picture:
        rng = self.rng
        slot = int(rng.integers(len(self.walls)))
        if rng.random() < 0.06:
            self.walls[slot] = self._wall()
        source = self.walls[slot]
        zoom = rng.uniform(0.5, 1.0) * min(1.0, self.side / max(height, width))
        h, w = min(self.side, int(height * zoom) + 1), min(self.side, int(width * zoom) + 1)
        y, x = int(rng.integers(self.side - h + 1)), int(rng.integers(self.side - w + 1))
        crop = np.rot90(source[y : y + h, x : x + w], int(rng.integers(4)))
        picture = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.float32)
        return picture * (rng.uniform(0.5, 1.2) * backdrops.color(rng, 1, 1.0001, 0.2))

    def _digit(self, index: int | None, hand: glyphs.Hand) -> Ink:
        """Render crop `index` in this handwriting. None: a random digit, usually from the cache."""
        rng = self.rng
        if index is None and len(self.drawn) == DRAWN and rng.random() < 0.8:
            return self.drawn[int(rng.integers(DRAWN))]
        chosen = int(rng.integers(len(self.digits.labels))) if index is None else index
        ink = glyphs.ink(self.digits.crops[chosen], int(self.digits.labels[chosen]), hand, rng)
        if len(self.drawn) < DRAWN:
            self.drawn.append(ink)
        else:
            self.drawn[int(rng.integers(DRAWN))] = ink
        return ink

    def _sign(self) -> Ink:
        return self.signs[int(self.rng.integers(len(self.signs)))]

    def _hand(self) -> glyphs.Hand:
        return self.style.hand or glyphs.random_hand(self.rng, self.style.wild)

    def _height(self, most: float) -> float:
        low, high = self.style.digit
        high = max(low * 1.05, min(high, most / self.style.camera.scale))
        return float(np.exp(self.rng.uniform(np.log(low), np.log(high)))) * self.style.camera.scale

    def _plate(self, canvas: Canvas, panel: NDArray[np.uint8], wanted: list[int] | None) -> list[int]:
        """Add a plate with digits in a random pose. Returns the wanted crops that did not fit on it."""
        rng = self.rng
        height, width = panel.shape
        if wanted is None and rng.random() < self.style.sheets:  # a sheet full of digits, for many positives per scene
            size = self._height(0.3 * min(height, width))
            pitch = size * rng.uniform(*self.style.pitch)
            count = int(rng.integers(2, max(3, int(0.95 * width / pitch))))
            lines = int(rng.integers(1, max(2, int(0.95 * height / size / 1.25))))
        else:
            count = int(rng.choice(8, p=[0.03, 0.07, 0.13, 0.18, 0.25, 0.17, 0.11, 0.06]))
            count, lines = (min(len(wanted), 6) if wanted is not None else count), 1
            size = self._height(0.95 * min(width / (0.85 * max(count, 1) + 0.4), height / 1.3))
            pitch = size * rng.uniform(*self.style.pitch)
        margin_x, margin_y, leading = size * rng.uniform(0.12, 1.0), size * rng.uniform(0.12, 0.9), size * 1.2
        plate_w, plate_h = (
            round(count * pitch + 2 * margin_x),
            round(size * 1.08 + 2 * margin_y + (lines - 1) * leading),
        )
        plate, tone = plates.blank(rng, plate_h, plate_w)
        hand, windows = self._hand(), rng.random() < 0.25
        for i in range(count * lines):
            x, y = margin_x + i % count * pitch, margin_y + i // count * leading
            if windows:
                plates.window(rng, plate.picture, x, y, pitch, size)
            own = size * rng.uniform(0.85, 1.08)
            corner = x + (pitch - own) / 2 + rng.normal(0, 0.03) * size, y + rng.normal(0, 0.05) * size
            plate.draw(self._digit(wanted[i] if wanted is not None else None, hand), corner, own, tone)
        for _ in range(int(rng.choice([0, 0, 1, 2, 4]))):  # units and names: small letters along the edge
            small = min(margin_y * 0.9, size * 0.5)
            if small >= 4 * self.style.camera.scale:
                line_y = rng.choice([0.05 * margin_y, plate_h - small * 1.05])
                plate.draw(self._sign(), (rng.uniform(0, plate_w), line_y), small, tone)
        self._mount(canvas, panel, plate)
        return wanted[count:] if wanted is not None else []

    def _mount(self, canvas: Canvas, panel: NDArray[np.uint8], plate: Canvas) -> None:
        """Warp a plate with its shadow into the scene, and transform the points of its ink."""
        rng = self.rng
        height, width = panel.shape
        h, w = plate.picture.shape[:2]
        corners = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        for _ in range(4):  # until it overlaps no other plate
            moved = plates.mounted_corners(rng, corners, (width, height), self.style.tilt, self.style.perspective)
            warp = cv2.getPerspectiveTransform(corners - 0.5, moved - 0.5)
            mask = cv2.warpPerspective(np.ones((h, w), np.float32), warp, (width, height))[:, :, None]
            if not panel[mask[:, :, 0] > 0].any():
                break
        else:
            return
        shadow = cv2.fillConvexPoly(
            np.zeros((height, width), np.float32), (moved + rng.uniform(-3, 6, 2)).astype(np.int32), 1.0
        )
        canvas.picture *= 1 - rng.uniform(0, 0.6) * cv2.blur(shadow, (9, 9))[:, :, None]
        flat = cv2.warpPerspective(plate.picture, warp, (width, height), borderMode=cv2.BORDER_REPLICATE)
        canvas.picture += mask * (flat - canvas.picture)
        panel[mask[:, :, 0] > 0.5] = PANEL_IN
        for label, points in plate.ink:
            canvas.ink.append((label, cv2.perspectiveTransform(points[None] - 0.5, warp)[0] + 0.5))

    def _housing(self, canvas: Canvas, panel: NDArray[np.uint8], corners: NDArray[np.float32]) -> None:
        """Draw a housing around a plate, with a word on it; it is not part of the panel. Not over another plate."""
        rng = self.rng
        middle = corners.mean(0)
        outer = (corners - middle) * rng.uniform(1.15, 2.6, 2) + middle + rng.normal(0, 0.12, 2) * np.ptp(corners, 0)
        if (panel[cv2.fillConvexPoly(np.zeros_like(panel), outer.astype(np.int32), 1) > 0]).any():
            return
        face = backdrops.color(rng, 20, 210)
        cv2.fillConvexPoly(canvas.picture, outer.astype(np.int32), face.tolist(), cv2.LINE_AA)
        edge = (face * rng.uniform(0.4, 1.3)).tolist()
        cv2.polylines(canvas.picture, [outer.astype(np.int32)], True, edge, int(rng.integers(1, 4)), cv2.LINE_AA)
        recess = ((corners - middle) * rng.uniform(1.0, 1.12) + middle).astype(np.int32)
        cv2.fillConvexPoly(canvas.picture, recess, (face * rng.uniform(0.2, 1.1)).tolist(), cv2.LINE_AA)
        size = 0.6 * float(corners[0, 1] - outer[0, 1])
        if size > 5 * self.style.camera.scale:
            tone = np.clip(face + rng.choice([-1, 1]) * rng.uniform(40, 120), 0, 255).astype(np.float32)
            for i in range(int(rng.integers(0, 7))):
                canvas.draw(self._sign(), (corners[0, 0] + 0.85 * i * size, corners[0, 1] - 1.3 * size), size, tone)

    def _loose(self, canvas: Canvas, panel: NDArray[np.uint8], wanted: list[int] | None) -> None:
        """Draw digits directly onto free places of the scene, in ink with enough contrast."""
        rng = self.rng
        height, width = panel.shape
        taken = cv2.dilate(panel, np.ones((9, 9), np.uint8))
        room = max(2, round(height * width / 320**2 / self.style.camera.scale**2 * 40))
        for index in wanted if wanted is not None else [None] * int(rng.integers(1, room + 1)):
            size = self._height(0.45 * min(height, width))
            for _ in range(40 if wanted is not None else 6):
                x, y = rng.uniform(0, width - size), rng.uniform(0, height - size)
                spot = (slice(int(y), int(y + size)), slice(int(x), int(x + size)))
                if not taken[spot].any():
                    break
            else:
                continue
            local = canvas.picture[spot].mean((0, 1))
            contrast = rng.uniform(75, 190) * (-1 if local.mean() > 125 else 1)
            tone = np.clip(local + contrast * backdrops.color(rng, 1, 1.0001, 0.5), 0, 255).astype(np.float32)
            canvas.draw(self._digit(index, self._hand()), (x, y), size, tone)
            taken[spot] = 1

    def _signs(self, canvas: Canvas) -> None:
        """Draw letters where there is no digit."""
        rng = self.rng
        height, width = canvas.picture.shape[:2]
        keep = [points.min(0).tolist() + points.max(0).tolist() for _, points in canvas.ink]
        for _ in range(int(rng.choice([0, 0, 1, 3, 6, 10]))):
            size = self._height(0.4 * min(height, width))
            x, y = rng.uniform(0, width - size), rng.uniform(0, height - size)
            if any(x < b[2] and b[0] < x + size and y < b[3] and b[1] < y + size for b in keep):
                continue
            tone = backdrops.color(rng, 0, 255)
            for _ in range(int(rng.choice([1, 1, 3, 5]))):  # a word, until it would overlap a digit
                if not any(x < b[2] and b[0] < x + size and y < b[3] and b[1] < y + size for b in keep):
                    canvas.draw(self._sign(), (x, y), size, tone)
                x += size * 0.8

    def _occlude(self, canvas: Canvas, cover: Picture) -> None:
        rng = self.rng
        height, width = cover.shape
        target = (
            canvas.ink[int(rng.integers(len(canvas.ink)))][1].mean(0)
            if canvas.ink
            else rng.uniform(0, 1, 2) * (width, height)
        )
        palm = rng.uniform(0.12, 0.45) * min(height, width)
        tip = target + rng.normal(0, 0.35, 2) * palm
        skin, edge = backdrops.reach(rng, height, width, backdrops.random_arm(rng, tip, float(palm)))
        if edge.mean() < 0.5:
            canvas.picture += edge[:, :, None] * (skin - canvas.picture)
            np.maximum(cover, edge, out=cover)


def letterboxed(scene: Scene, side: int, corner: tuple[int, int]) -> Scene:
    """The scene on a gray square of `side` pixels its upper left corner at `corner` (x, y), as in preprocessing."""
    x, y = corner
    height, width = scene.panel.shape
    image = np.full((side, side, 3), LETTERBOX, np.uint8)
    panel = np.zeros((side, side), np.uint8)
    image[y : y + height, x : x + width], panel[y : y + height, x : x + width] = scene.image, scene.panel
    shift = np.array([x, y, x, y], np.float32)
    return Scene(image, scene.boxes + shift, scene.labels, scene.visible, panel, scene.kind)
