"""Clips generated from a clip: static scenes with one object, and hard cases for reuse. A seed makes them repeatable.

Each frame is computed on demand from its number. All have camera noise. Not here: finding background and object
(scene.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from edge_app.bench.reuse.clips import Clip, Noise, with_image
from edge_app.bench.reuse.scene import Scene
from edge_app.frame import Float32, Frame, UInt8

FRAMES = 300
CAMERA_SIGMA = 2.0  # gray levels
_SEED = 7
_TILE = 32  # pixels: tile borders of any size are multiples of it

Painter = Callable[[UInt8, int], UInt8]  # (image, frame number) -> image


def idle(_: Scene) -> Painter:
    """The background alone."""
    return lambda image, _: image


def sparse(scene: Scene) -> Painter:
    """One object that moves back and forth at 20 pixels per frame, always in view."""
    return _walk(scene, 20)


def static_scenes(scene: Scene, stem: str, frames: int = FRAMES) -> list[Clip]:
    """Return the idle and the sparse clip."""
    return [_on_background(f"{stem}:{make.__name__}", scene, make(scene), frames) for make in (idle, sparse)]


def hard_cases(scene: Scene, base: Clip, stem: str, frames: int = FRAMES) -> list[Clip]:
    """Hard cases: camera motion, light and weather on the clip itself, and objects on its background."""
    over_clip: dict[str, Painter] = {
        "pan_1": _pan(1),
        "pan_3": _pan(3),
        "pan_32": _pan(32),
        "exposure_ramp": _exposure(frames),
        "flicker": _flicker,
        "noise_low": lambda image, _: image,
        "noise_high": lambda image, _: image,
        "fog": _fog(frames),
        "shadow": _shadow(frames),
        "rain": _rain,
        "hard_cut": _cut(max(2, frames // 6)),
    }
    over_scene: dict[str, Painter] = {
        "small_fast": _small_fast(scene),
        "faint": _walk(scene, 4, strength=0.3),
        "stop_then_leave": _stop_then_leave(scene, frames),
        "tile_borders": _tile_borders(scene),
    }
    sigma = {"noise_low": 4.0, "noise_high": 10.0}
    clips = [
        _on_clip(f"{stem}:{name}", base, paint, frames, sigma.get(name, CAMERA_SIGMA))
        for name, paint in over_clip.items()
    ]
    return clips + [_on_background(f"{stem}:{name}", scene, paint, frames) for name, paint in over_scene.items()]


def _on_background(name: str, scene: Scene, paint: Painter, frames: int) -> Clip:
    noise = Noise.gaussian(CAMERA_SIGMA, _SEED)

    def generate() -> Iterator[Frame]:
        for number in range(frames):
            at_ns = number * scene.period_ns
            yield Frame(name, number, at_ns, at_ns, noise.apply(paint(scene.background, number), number))

    return Clip(name, generate, frames)


def _on_clip(name: str, base: Clip, paint: Painter, frames: int, sigma: float) -> Clip:
    noise = Noise.gaussian(sigma, _SEED)

    def generate() -> Iterator[Frame]:
        for number, frame in enumerate(base.first(frames).frames()):
            yield with_image(frame, noise.apply(paint(frame.image, number), number))

    return Clip(name, generate, frames if base.length is None else min(frames, base.length))


def _walk(scene: Scene, step: int, strength: float = 1.0) -> Painter:
    """The object moves back and forth at its original height, mirrored on the way back. step: pixels per frame."""
    object_, mirrored = scene.object, scene.object.mirrored()
    distance = scene.background.shape[1] - object_.size[0]

    def paint(image: UInt8, number: int) -> UInt8:
        turn, x = divmod(object_.x + number * step, max(distance, 1))
        back = turn % 2 == 1
        return (mirrored if back else object_).pasted(image, distance - x if back else x, object_.y, strength)

    return paint


def _pan(step: int) -> Painter:
    """The camera pans by whole pixels over a canvas of the image and its mirror image."""

    def paint(image: UInt8, number: int) -> UInt8:
        canvas = np.concatenate([image, image[:, ::-1], image], axis=1)
        x = number * step % (2 * image.shape[1])
        return np.ascontiguousarray(canvas[:, x : x + image.shape[1]])

    return paint


def _exposure(frames: int) -> Painter:
    """The gain falls to 0.5, rises to 1.5 and returns to 1."""
    return lambda image, number: _gained(image, 1 - 0.5 * math.sin(2 * math.pi * number / frames))


def _flicker(image: UInt8, number: int) -> UInt8:
    """Mains flicker on a rolling shutter: bands of ±6 % that move by about a third of their height per frame."""
    rows = np.arange(image.shape[0], dtype=np.float32) / image.shape[0]
    gain = 1 + 0.06 * np.sin(2 * np.pi * (1.5 * rows + 0.37 * number))
    return _blended(image, 0, 1 - gain[:, None, None].astype(np.float32))


def _fog(frames: int) -> Painter:
    """Fog that replaces half of the light by gray at the end."""
    return lambda image, number: _blended(image, 190, np.float32(0.5 * number / frames))


def _shadow(frames: int) -> Painter:
    """The soft edge of a shadow moves slowly over half of the image."""

    def paint(image: UInt8, number: int) -> UInt8:
        height, width = image.shape[:2]
        edge = width * (0.1 + 0.5 * number / frames)
        columns = np.arange(width, dtype=np.float32)[None, :] + np.arange(height, dtype=np.float32)[:, None] * 0.3
        depth = 0.225 * (1 - np.tanh((columns - edge) / (width / 50)))
        return _blended(image, 0, depth[..., None])

    return paint


def _rain(image: UInt8, number: int) -> UInt8:
    """Streaks of rain, different in every frame."""
    height, width = image.shape[:2]
    raw = np.random.PCG64([_SEED, number]).random_raw(400).view(np.uint32).reshape(-1, 2)
    streaks = np.zeros((height, width), np.uint8)
    for x, y in (raw % (width, height)).tolist():
        cv2.line(streaks, (x, y), (x + height // 96, y + height // 20), 110, 1)
    return _blended(image, 220, (streaks / 255).astype(np.float32)[..., None])


def _cut(every: int) -> Painter:
    """The image changes abruptly to its darker mirror image and back."""
    return lambda image, number: image if number // every % 2 == 0 else _gained(image[:, ::-1], 0.8)


def _small_fast(scene: Scene) -> Painter:
    """The object at a height of 16 pixels, 24 pixels per frame."""
    return _walk(replace(scene, object=scene.object.scaled(16)), 24)


def _stop_then_leave(scene: Scene, frames: int) -> Painter:
    """The object enters, stops for a third of the clip, and leaves."""
    width, step = scene.background.shape[1], 8
    middle = width // 2
    inward, third = (middle + scene.object.size[0]) // step, frames // 3

    def paint(image: UInt8, number: int) -> UInt8:
        walked = min(number, inward) + max(0, number - inward - third)
        return scene.object.pasted(image, walked * step - scene.object.size[0], scene.object.y)

    return paint


def _tile_borders(scene: Scene) -> Painter:
    """The object moves across tile corners, 5 pixels per frame, and appears in each corner of the image in turn."""
    height, width = scene.background.shape[:2]
    w, h = scene.object.size
    corners = [(-w // 3, -h // 3), (width - 2 * w // 3, -h // 3), (-w // 3, height - 2 * h // 3)]
    corners += [(width - 2 * w // 3, height - 2 * h // 3)]

    def paint(image: UInt8, number: int) -> UInt8:
        stay, at = divmod(number, 20)
        if stay % 2:
            x, y = corners[stay // 2 % 4]
            return scene.object.pasted(image, x + at % 4, y + at % 3)
        x = (2 + 3 * (stay // 2)) * _TILE % max(width - w, 1)
        y = (2 + stay // 2) * _TILE % max(height - h, 1)
        return scene.object.pasted(image, x - 50 + 5 * at, y - 2 + at % 5)

    return paint


def _gained(image: UInt8, gain: float) -> UInt8:
    return np.asarray(cv2.convertScaleAbs(image, alpha=gain), np.uint8)


def _blended(image: UInt8, gray: int, alpha: Float32 | np.float32) -> UInt8:
    """Return image * (1 - alpha) + gray * alpha, rounded. alpha: a number or (H or 1, W or 1, 1)."""
    mixed = image + (np.float32(gray) - image) * alpha
    return np.asarray(np.clip(np.rint(mixed), 0, 255), np.uint8)
