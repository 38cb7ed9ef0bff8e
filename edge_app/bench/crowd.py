"""Simulated crowds with ground-truth identities: people walk, stop, cross, occlude one another, enter and leave.

A seed determines everything. Not here: tracking or scoring (track.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import iou

Rng = np.random.Generator
Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class CrowdFrame:
    """One frame: the ground truth, without people who are occluded by more than 70 %, and simulated detections.

    true_id: (N,) int64; true_xyxy: (N, 4) float32, pixels; detections: (M,), of another order.
    """

    captured_ns: int
    true_id: NDArray[np.int64]
    true_xyxy: Float32
    detections: Detections


@dataclass(frozen=True, slots=True)
class Crowd:
    """The parameters of a crowd. width, height: pixels.

    missed, false: missed and false detections as a share of the visible people. noise: standard deviation of the sides
    of a box, as a share of its height. pillars: occluders that do not move.
    """

    people: int = 20
    width: int = 1280
    height: int = 720
    fps: float = 25.0
    seconds: float = 40.0
    missed: float = 0.10
    false: float = 0.05
    noise: float = 0.03
    pillars: int = 2

    def simulate(self, seed: int) -> list[CrowdFrame]:
        """Return every frame."""
        rng = np.random.default_rng(seed)
        walkers = _Walkers(self, rng)
        pillars = self._pillars(rng)
        frames = []
        for k in range(round(self.seconds * self.fps)):
            walkers.step(1 / self.fps)
            shares = _visible_share(walkers.xyxy, pillars, self)
            visible = shares >= 0.3
            frames.append(
                CrowdFrame(
                    round(k / self.fps * 1e9),
                    walkers.id[visible].copy(),
                    walkers.xyxy[visible].astype(np.float32),
                    self._detect(walkers.xyxy[visible], shares[visible], rng),
                )
            )
        return frames

    def _pillars(self, rng: Rng) -> Float64:
        left = rng.uniform(0.15, 0.85, self.pillars) * self.width
        wide = rng.uniform(0.03, 0.06, self.pillars) * self.width
        return np.stack([left, np.zeros_like(left), left + wide, np.full_like(left, 0.75 * self.height)], axis=1)

    def _detect(self, xyxy: Float64, shares: Float64, rng: Rng) -> Detections:
        """Simulate a detector: occlusion adds noise to a box and lowers its score; some are missed, some are false."""
        hit = rng.random(len(xyxy)) >= self.missed
        shares, boxes = shares[hit], xyxy[hit]
        height = (boxes[:, 3] - boxes[:, 1])[:, None]
        boxes = boxes + rng.normal(0, 1, boxes.shape) * height * self.noise * (2 - shares[:, None])
        score = np.clip(rng.normal(0.15 + 0.7 * shares, 0.07), 0.05, 0.99)
        false = int(rng.binomial(max(len(xyxy), 1), self.false))
        size = rng.uniform(40, 200, (false, 1)) * rng.uniform(0.3, 1.0, (false, 2))
        corner = rng.uniform(0, 1, (false, 2)) * (self.width, self.height)
        boxes = np.concatenate([boxes, np.concatenate([corner, corner + size], axis=1)])
        score = np.concatenate([score, rng.uniform(0.1, 0.85, false)])
        order = rng.permutation(len(score))
        return Detections(
            boxes[order].astype(np.float32), score[order].astype(np.float32), np.zeros(len(score), np.int32)
        )


class _Walkers:
    """People on a ground plane seen at an angle: lower in the image means nearer, larger and in front."""

    def __init__(self, crowd: Crowd, rng: Rng) -> None:
        self._crowd, self._rng = crowd, rng
        n = crowd.people
        self.id = np.arange(1, n + 1)
        self._feet = np.stack([rng.uniform(0, crowd.width, n), rng.uniform(0.3, 1.0, n) * crowd.height], axis=1)
        self._heading = rng.uniform(0, 2 * np.pi, n)
        self._pace = rng.uniform(0.25, 1.0, n)  # body heights per second
        self._aspect = rng.uniform(0.32, 0.5, n)
        self._paused_s = np.zeros(n)  # left of a pause

    @property
    def xyxy(self) -> Float64:
        height = self._height
        width = height * self._aspect
        x, y = self._feet.T
        return np.stack([x - width / 2, y - height, x + width / 2, y], axis=1)

    @property
    def _height(self) -> Float64:
        return 0.08 * self._crowd.height + 0.2 * self._feet[:, 1]

    def step(self, dt: float) -> None:
        rng, n = self._rng, len(self.id)
        self._heading += rng.normal(0, 0.5, n) * np.sqrt(dt)
        stops = (self._paused_s <= 0) & (rng.random(n) < 0.05 * dt)
        self._paused_s = np.where(stops, rng.uniform(1, 4, n), self._paused_s - dt)
        speed = np.where(self._paused_s > 0, 0, self._pace) * self._height
        move = np.stack([np.cos(self._heading), 0.5 * np.sin(self._heading)], axis=1)
        self._feet += move * speed[:, None] * dt
        x1, _, x2, y2 = self.xyxy.T
        left_scene = (
            (x2 < 0) | (x1 > self._crowd.width) | (y2 < 0.25 * self._crowd.height) | (y2 > 1.15 * self._crowd.height)
        )
        for i in np.flatnonzero(left_scene):
            self._enter(int(i))

    def _enter(self, i: int) -> None:
        """Replace a person who left by a new one at the left or the right border."""
        rng, crowd = self._rng, self._crowd
        from_left = rng.random() < 0.5
        self.id[i] = self.id.max() + 1
        self._aspect[i], self._pace[i] = rng.uniform(0.32, 0.5), rng.uniform(0.25, 1.0)
        y = rng.uniform(0.3, 1.0) * crowd.height
        self._feet[i] = 0, y
        self._feet[i, 0] = -0.2 * self._height[i] if from_left else crowd.width + 0.2 * self._height[i]
        self._heading[i] = rng.normal(0 if from_left else np.pi, 0.5)


def _visible_share(xyxy: Float64, pillars: Float64, crowd: Crowd) -> Float64:
    """The share (N,) of each person's box that is inside the image and not covered by its largest occluder."""
    n = len(xyxy)
    area = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    limit = (crowd.width, crowd.height)
    inside = np.prod(np.maximum(np.minimum(xyxy[:, 2:], limit) - np.maximum(xyxy[:, :2], 0), 0), axis=1) / area
    occluders = np.concatenate([xyxy, pillars])
    low = np.maximum(xyxy[:, None, :2], occluders[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], occluders[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=2)  # (N, N + pillars)
    in_front = np.ones((n, len(occluders)), bool)
    in_front[:, :n] = occluders[None, :n, 3] > xyxy[:, None, 3]
    hidden = np.where(in_front, overlap, 0).max(axis=1, initial=0) / area
    share: Float64 = inside * (1 - hidden)
    return share


def subsampled(frames: Sequence[CrowdFrame], every: int) -> list[CrowdFrame]:
    """One in `every` frames, with its time stamp."""
    return list(frames[::every])


def with_lost_frames(frames: Sequence[CrowdFrame], share: float, seed: int) -> list[CrowdFrame]:
    """Drop a share of the frames at random; the others keep their time stamps."""
    is_kept = np.random.default_rng(seed).random(len(frames)) >= share
    return [frame for frame, keep in zip(frames, is_kept) if keep]


def overlaps(truth: Float32, boxes: Float32) -> Float64:
    """IoU of every pair, (N, M) float64, as the scorer takes it."""
    return iou(truth, boxes).astype(np.float64)
