"""Make models/digits/sample.mp4 and its truth: `python models/training/clip.py --digits PATH`.

A static camera shows the label of a water meter in a pump room. The number on it, in held-out digits, increases.
Training scenes contain nothing of this room.

Fields of the ground truth:
- scene: `covered` if an object before the lens hides at least 70 % of the frame; else `dark` if the 95th percentile of
  luma before noise is below 58; else `blurred` if the sigma of the Gaussian blur is above 3.85 pixels; else `ok`. These
  thresholds are in the middle of the ranges that camera.py does not train.
- digits: listed if the scene is ok, at least half of the ink is visible, and the digit has faded in at least by half.
  The box is that of the visible ink, widened to 0.4 of its height (canvas.ink_box).
- panel: the four corners of the label, if the scene is ok and at least half of the label is visible.
- reading: the number, if all of its digits are listed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import backdrops
import glyphs
from backdrops import Picture
from canvas import MIN_VISIBLE, Canvas, ink_box
from room import HEIGHT, LABEL, WIDTH, pump_room

FPS, SEED = 10, 4071
NOISE = (
    2.0  # gray levels of sensor noise before encoding; 1.5 times as much in the dark, since a camera raises its gain
)
NUMBERS = ("4071", "4072", "4078", "4086", "4093", "4105", "4110", "4126")
DIGIT, PITCH, LABEL_W, LABEL_H = 62, 55, 272, 96  # label pixels
DARK_LUMA, BLUR_SIGMA, COVER_SHARE = 58.0, 3.85, 0.70
CRF = 21


@dataclass(frozen=True, slots=True)
class Moment:
    """The state of one frame. ink: how far each digit has faded in, 0..1; hand, shade: position, frame pixels."""

    number: int = 0
    ink: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    hand: tuple[float, float] | None = None
    shade: float | None = None
    lamp: float = 1.0
    blur: float = 0.0
    cover: float = 0.0


def smoothstep(frames: int) -> NDArray[np.float64]:
    """Values between 0 and 1 in `frames` steps, slow at both ends."""
    t = (np.arange(frames) + 1) / (frames + 1)
    return t * t * (3 - 2 * t)


def moments() -> Iterator[Moment]:
    """The sequence of events, frame by frame. About half of the frames show no motion."""
    now = Moment()
    yield from [now] * 48
    yield from _changes(now, 1)
    now = replace(now, number=1)
    yield from [now] * 24
    for tip in _path([(690, 420), (400, 254), (378, 248), (700, 430)], (12, 10, 11)):  # a hand over the last two digits
        yield replace(now, hand=tip)
    yield from [now] * 18
    yield from _changes(now, 2)
    now = replace(now, number=2)
    yield from [now] * 22
    for x in np.linspace(-180, 820, 22):  # a person walks past the lamp
        yield replace(now, shade=float(x))
    for lamp in [*(1 - 0.45 * smoothstep(10)), *[0.55] * 8]:
        yield replace(now, lamp=float(lamp))
    for lamp in [0.4, 0.2, *[0.07] * 11]:
        yield replace(now, lamp=lamp)
    now = replace(now, number=3)
    for lamp in [*[0.07] * 8, 0.3, 0.75, 1.06]:
        yield replace(now, lamp=lamp)
    yield from [now] * 24
    over = _path([(-60, 380), (330, 262), (348, 256), (-80, 400)], (10, 12, 10))  # a hand over the whole number
    for i, tip in enumerate(over):
        yield replace(now, number=3 if i < 16 else 4, hand=tip)
    now = replace(now, number=4)
    yield from [now] * 22
    for i, blur in enumerate([1.0, 3.2, 5.5, *(7 + 1.5 * np.sin(np.arange(16))), 5.0, 2.4, 0.8]):  # autofocus hunting
        yield replace(now, number=4 if i < 11 else 5, blur=float(blur))
    now = replace(now, number=5)
    yield from [now] * 22
    for i, cover in enumerate([0.25, 0.66, 0.95, *[1.0] * 17, 0.92, 0.5, 0.16]):
        yield replace(now, number=5 if i < 12 else 6, cover=cover)
    now = replace(now, number=6)
    yield from [now] * 22
    yield from _changes(now, 7)
    yield from [replace(now, number=7)] * 26


def _changes(now: Moment, number: int) -> Iterator[Moment]:
    """The number changes: changed digits fade out, are absent, and the new ones fade in."""
    same = [a == b for a, b in zip(NUMBERS[now.number], NUMBERS[number], strict=True)]
    for step, level in enumerate((0.6, 0.25, 0.0, 0.0, 0.3, 0.7)):
        ink = tuple(1.0 if kept else level for kept in same)
        yield replace(now, number=now.number if step < 3 else number, ink=ink)


def _path(points: list[tuple[float, float]], frames: tuple[int, ...]) -> list[tuple[float, float]]:
    stops = np.array(points, np.float64)
    legs = [a + (b - a) * smoothstep(n)[:, None] for a, b, n in zip(stops[:-1], stops[1:], frames, strict=True)]
    return [(float(x), float(y)) for leg in legs for x, y in leg]


class Room:
    """The scene with its label. Renders frames and their ground truth."""

    def __init__(self, digits: glyphs.Glyphs, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.empty = pump_room(rng)
        light = backdrops.gradient(np.random.default_rng(seed + 1), HEIGHT, WIDTH, 0.0)
        x, y = np.meshgrid(np.linspace(-1, 1, WIDTH, dtype=np.float32), np.linspace(-1, 1, HEIGHT, dtype=np.float32))
        self.light = light * (0.5 + 0.62 * np.exp(-((x + 0.2) ** 2 + (y + 0.5) ** 2) / 1.5))[:, :, None]
        self.paper = np.float32([226, 222, 206]) + (backdrops.noise(rng, LABEL_H, LABEL_W, 30, 3) * 2.5)[:, :, None]
        frame = (2, 2), (LABEL_W - 3, LABEL_H - 3)
        cv2.rectangle(self.paper, *frame, (120, 120, 116), 2, cv2.LINE_AA)
        edges = np.array([[0, 0], [LABEL_W, 0], [LABEL_W, LABEL_H], [0, LABEL_H]], np.float32)
        self.warp = cv2.getPerspectiveTransform(edges - 0.5, LABEL - 0.5)
        self.inside = cv2.warpPerspective(np.ones((LABEL_H, LABEL_W), np.float32), self.warp, (WIDTH, HEIGHT))
        self.near = backdrops.lens_cover(np.random.default_rng(seed + 2), HEIGHT, WIDTH) * 0.25
        self.near += np.float32([118, 82, 66]) * (1.05 - 0.5 * np.hypot(x - 0.3, y + 0.2))[:, :, None]
        self.written = self._written(digits, rng)

    @staticmethod
    def _written(digits: glyphs.Glyphs, rng: np.random.Generator) -> list[list[glyphs.Ink]]:
        """Ink for every digit of every number. A digit that does not change keeps its ink."""
        hand = replace(glyphs.STEADY, threshold=0.45, softness=0.2)
        rows: list[list[glyphs.Ink]] = []
        for i, number in enumerate(NUMBERS):
            row = []
            for place, sign in enumerate(number):
                if i and NUMBERS[i - 1][place] == sign:
                    row.append(rows[-1][place])
                else:
                    crop = rng.choice(np.flatnonzero(digits.labels == int(sign)))
                    row.append(glyphs.ink(digits.crops[crop], int(sign), hand, rng))
            rows.append(row)
        return rows

    def _label(self, now: Moment) -> Canvas:
        label = Canvas(self.paper.copy())
        tone = np.float32([34, 38, 62])
        for place, ink in enumerate(self.written[now.number]):
            label.draw(ink, (26.0 + place * PITCH, (LABEL_H - DIGIT) / 2), DIGIT, tone, now.ink[place])
        return label

    def render(self, now: Moment, index: int) -> tuple[NDArray[np.uint8], dict[str, object]]:
        """One frame (480, 640, 3) uint8 RGB and its line of ground truth."""
        label = self._label(now)
        flat = cv2.warpPerspective(label.picture, self.warp, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
        picture = self.empty + self.inside[:, :, None] * (flat - self.empty)
        hidden = np.zeros((HEIGHT, WIDTH), np.float32)
        if now.hand:
            picture, hidden = self._with_hand(picture, now.hand)
        picture = picture * self.light * now.lamp + 3
        if now.shade is not None:
            x = np.arange(WIDTH, dtype=np.float32)[None, :, None]
            picture = picture * (1 - 0.5 * np.exp(-(((x - now.shade) / 130) ** 4)))
        covered = self._lens_mask(now.cover)
        flicker = 1 + 0.02 * np.sin(index * 0.9)
        picture = picture + covered[:, :, None] * (self.near * np.float32(flicker) - picture)
        luma = float(np.percentile(picture @ np.float32([0.299, 0.587, 0.114]), 95))
        if now.blur:
            picture = cv2.GaussianBlur(picture, (0, 0), now.blur)
        kind = "ok"
        if float((covered > 0.5).mean()) >= COVER_SHARE:
            kind = "covered"
        elif luma < DARK_LUMA:
            kind = "dark"
        elif now.blur > BLUR_SIGMA:
            kind = "blurred"
        grain = np.random.default_rng([SEED, index]).standard_normal((HEIGHT, WIDTH, 1), dtype=np.float32)
        sigma = NOISE * (1.5 if kind == "dark" else 1)
        image = np.clip(picture + sigma * grain + 0.5, 0, 255).astype(np.uint8)
        return image, self._truth(now, label, np.maximum(hidden, covered), kind, index)

    @staticmethod
    def _with_hand(picture: Picture, tip: tuple[float, float]) -> tuple[Picture, Picture]:
        """Draw a hand that points at the label from the right, or covers it from the left."""
        from_left = tip[0] < 360
        away = np.array([-0.86, 0.51] if from_left else [0.8, 0.6])
        palm, fingers = (250.0, 4) if from_left else (130.0, 2)
        arm = backdrops.Arm(
            np.array(tip) - away * palm * (0.45 if from_left else 0), away, palm, fingers, np.float32([186, 138, 112])
        )
        skin, edge = backdrops.reach(np.random.default_rng(21), HEIGHT, WIDTH, arm)
        shadow = cv2.GaussianBlur(np.roll(edge, (14, 10), (0, 1)), (0, 0), 9)
        picture = picture * (1 - 0.45 * shadow[:, :, None])
        return picture + edge[:, :, None] * (skin - picture), edge

    @staticmethod
    def _lens_mask(share: float) -> Picture:
        """Coverage (480, 640) by an object close to the lens that enters from the lower left."""
        if share <= 0:
            return np.zeros((HEIGHT, WIDTH), np.float32)
        x, y = np.meshgrid(np.linspace(0, 1, WIDTH, dtype=np.float32), np.linspace(1, 0, HEIGHT, dtype=np.float32))
        depth = 0.8 * x + 0.3 * y + 0.05 * np.sin(5 * y)
        edge = float(np.quantile(depth[::4, ::4], share)) + (0.2 if share >= 1 else 0.0)
        return np.clip((edge - depth) / 0.12 + 0.5, 0, 1)

    def _truth(self, now: Moment, label: Canvas, hidden: Picture, kind: str, index: int) -> dict[str, object]:
        size = np.array([WIDTH, HEIGHT] * 2, np.float32)
        digits = []
        for (sign, points), level in zip(label.ink, now.ink, strict=True):
            placed = cv2.perspectiveTransform(points[None] - 0.5, self.warp)[0] + 0.5
            x, y = np.floor(placed.T).astype(int)
            seen = hidden[y, x] < 0.5
            if kind == "ok" and level >= 0.5 and seen.mean() >= MIN_VISIBLE:
                box = ink_box(placed[seen]) / size
                digits.append({"label": str(sign), "box": [round(float(v), 5) for v in box]})
        free = float((hidden[self.inside > 0.5] < 0.5).mean())
        panel = [[round(float(x) / WIDTH, 5), round(float(y) / HEIGHT, 5)] for x, y in LABEL]
        return {
            "frame": index,
            "scene": kind,
            "panel": panel if kind == "ok" and free >= MIN_VISIBLE else None,
            "digits": digits,
            "reading": NUMBERS[now.number] if len(digits) == len(now.ink) else None,
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--digits", type=Path, help="OpenCV's digits.png; default: scikit-learn's digits")
    parser.add_argument("--out", type=Path, default=Path("models/digits"))
    args = parser.parse_args()
    _, held_out = glyphs.load(args.digits)
    room = Room(held_out, SEED)
    story = list(moments())
    with av.open(str(args.out / "sample.mp4"), "w") as video, (args.out / "sample.truth.jsonl").open("w") as truth:
        stream = video.add_stream(
            "libx264", rate=Fraction(FPS), options={"crf": str(CRF), "preset": "slow", "threads": "1"}
        )
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index, now in enumerate(tqdm(story, desc="sample.mp4", unit="frame")):
            image, line = room.render(now, index)
            video.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
            truth.write(json.dumps(line) + "\n")
        video.mux(stream.encode(None))


if __name__ == "__main__":
    main()
