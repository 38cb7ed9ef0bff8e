"""A crowd with true identities for `bench track`: people who walk, stop, cross, hide one another, come and go.

Everything comes from a seed. Not here: tracking or scoring it (track.py).
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
    """A picture of the crowd: who is truly where (those hidden to more than 70 % left out), and what a detector saw."""

    captured_ns: int
    true_id: NDArray[np.int64]
    true_xyxy: Float32
    detections: Detections


@dataclass(frozen=True, slots=True)
class Crowd:
    """How hard it is. Lengths are pixels.

    missed, false: shares of the visible people. noise: the deviation of a box's sides in shares of its height.
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
        """Every frame of it."""
        rng = np.random.default_rng(seed)
        walkers = _Walkers(self, rng)
        pillars = self._pillars(rng)
        film = []
        for k in range(round(self.seconds * self.fps)):
            walkers.step(1 / self.fps)
            shares = _visible(walkers.xyxy, pillars, self)
            seen = shares >= 0.3
            film.append(
                CrowdFrame(
                    round(k / self.fps * 1e9),
                    walkers.id[seen].copy(),
                    walkers.xyxy[seen].astype(np.float32),
                    self._detect(walkers.xyxy[seen], shares[seen], rng),
                )
            )
        return film

    def _pillars(self, rng: Rng) -> Float64:
        left = rng.uniform(0.15, 0.85, self.pillars) * self.width
        wide = rng.uniform(0.03, 0.06, self.pillars) * self.width
        return np.stack([left, np.zeros_like(left), left + wide, np.full_like(left, 0.75 * self.height)], axis=1)

    def _detect(self, xyxy: Float64, shares: Float64, rng: Rng) -> Detections:
        """Boxes with noise, more of it and a lower score where a person is partly hidden; some missed, some false."""
        hit = rng.random(len(xyxy)) >= self.missed
        shares, boxes = shares[hit], xyxy[hit]
        tall = (boxes[:, 3] - boxes[:, 1])[:, None]
        boxes = boxes + rng.normal(0, 1, boxes.shape) * tall * self.noise * (2 - shares[:, None])
        score = np.clip(rng.normal(0.15 + 0.7 * shares, 0.07), 0.05, 0.99)
        invented = int(rng.binomial(max(len(xyxy), 1), self.false))
        size = rng.uniform(40, 200, (invented, 1)) * rng.uniform(0.3, 1.0, (invented, 2))
        corner = rng.uniform(0, 1, (invented, 2)) * (self.width, self.height)
        boxes = np.concatenate([boxes, np.concatenate([corner, corner + size], axis=1)])
        score = np.concatenate([score, rng.uniform(0.1, 0.85, invented)])
        order = rng.permutation(len(score))
        return Detections(
            boxes[order].astype(np.float32), score[order].astype(np.float32), np.zeros(len(score), np.int32)
        )


class _Walkers:
    """People on a ground plane seen at an angle: who stands lower in the picture is nearer, larger and in front."""

    def __init__(self, crowd: Crowd, rng: Rng) -> None:
        self._crowd, self._rng = crowd, rng
        n = crowd.people
        self.id = np.arange(1, n + 1)
        self._feet = np.stack([rng.uniform(0, crowd.width, n), rng.uniform(0.3, 1.0, n) * crowd.height], axis=1)
        self._heading = rng.uniform(0, 2 * np.pi, n)
        self._pace = rng.uniform(0.25, 1.0, n)  # body heights a second
        self._slim = rng.uniform(0.32, 0.5, n)
        self._stands_s = np.zeros(n)

    @property
    def xyxy(self) -> Float64:
        tall = self._tall
        wide = tall * self._slim
        x, y = self._feet.T
        return np.stack([x - wide / 2, y - tall, x + wide / 2, y], axis=1)

    @property
    def _tall(self) -> Float64:
        return 0.08 * self._crowd.height + 0.2 * self._feet[:, 1]

    def step(self, dt: float) -> None:
        rng, n = self._rng, len(self.id)
        self._heading += rng.normal(0, 0.5, n) * np.sqrt(dt)
        stops = (self._stands_s <= 0) & (rng.random(n) < 0.05 * dt)
        self._stands_s = np.where(stops, rng.uniform(1, 4, n), self._stands_s - dt)
        speed = np.where(self._stands_s > 0, 0, self._pace) * self._tall
        move = np.stack([np.cos(self._heading), 0.5 * np.sin(self._heading)], axis=1)
        self._feet += move * speed[:, None] * dt
        x1, _, x2, y2 = self.xyxy.T
        gone = (x2 < 0) | (x1 > self._crowd.width) | (y2 < 0.25 * self._crowd.height) | (y2 > 1.15 * self._crowd.height)
        for i in np.flatnonzero(gone):
            self._enter(int(i))

    def _enter(self, i: int) -> None:
        """Whoever left comes back as somebody else, at the left or the right border."""
        rng, crowd = self._rng, self._crowd
        from_left = rng.random() < 0.5
        self.id[i] = self.id.max() + 1
        self._slim[i], self._pace[i] = rng.uniform(0.32, 0.5), rng.uniform(0.25, 1.0)
        y = rng.uniform(0.3, 1.0) * crowd.height
        self._feet[i] = 0, y
        self._feet[i, 0] = -0.2 * self._tall[i] if from_left else crowd.width + 0.2 * self._tall[i]
        self._heading[i] = rng.normal(0 if from_left else np.pi, 0.5)


def _visible(xyxy: Float64, pillars: Float64, crowd: Crowd) -> Float64:
    """The share (N,) of each person's box inside the picture and not behind the nearest thing in front of it."""
    n = len(xyxy)
    area = np.prod(xyxy[:, 2:] - xyxy[:, :2], axis=1)
    limit = (crowd.width, crowd.height)
    inside = np.prod(np.maximum(np.minimum(xyxy[:, 2:], limit) - np.maximum(xyxy[:, :2], 0), 0), axis=1) / area
    things = np.concatenate([xyxy, pillars])
    low = np.maximum(xyxy[:, None, :2], things[None, :, :2])
    high = np.minimum(xyxy[:, None, 2:], things[None, :, 2:])
    overlap = np.prod(np.maximum(high - low, 0), axis=2)  # (N, N + pillars)
    in_front = np.ones((n, len(things)), bool)
    in_front[:, :n] = things[None, :n, 3] > xyxy[:, None, 3]
    hidden = np.where(in_front, overlap, 0).max(axis=1, initial=0) / area
    share: Float64 = inside * (1 - hidden)
    return share


def subsampled(film: Sequence[CrowdFrame], every: int) -> list[CrowdFrame]:
    """One frame of every `every`."""
    return list(film[::every])


def with_lost_frames(film: Sequence[CrowdFrame], share: float, seed: int) -> list[CrowdFrame]:
    """The film with a share of its frames lost at random; time goes on."""
    kept = np.random.default_rng(seed).random(len(film)) >= share
    return [seen for seen, keep in zip(film, kept) if keep]


def overlaps(truth: Float32, boxes: Float32) -> Float64:
    """IoU (N, M) for a scorer."""
    return iou(truth, boxes).astype(np.float64)
