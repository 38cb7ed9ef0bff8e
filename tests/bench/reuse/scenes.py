"""A small clip with a static background and one object that crosses it, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_app.bench.reuse.clips import Clip
from edge_app.frame import Frame

SIZE = (192, 144)
OBJECT = (18, 30)  # width and height


def background() -> np.ndarray:
    y, x = np.mgrid[: SIZE[1], : SIZE[0]]
    return np.stack([x % 64 + 90, y % 48 + 90, (x + y) % 56 + 90], axis=2).astype(np.uint8)


def picture(number: int) -> np.ndarray:
    """The object is dark, 40 pixels below the upper edge, and moves right by 3 pixels per frame."""
    image = background()
    x = 6 + 3 * number
    cv2.rectangle(image, (x, 40), (x + OBJECT[0] - 1, 40 + OBJECT[1] - 1), (10, 20, 10), -1)
    return image


def crossing(frames: int = 48) -> Clip:
    def generate() -> Iterator[Frame]:
        for number in range(frames):
            yield Frame("test", number, number * 100_000_000, 0, picture(number))

    return Clip("crossing", generate, frames)


def film(folder: Path, frames: int = 40) -> Path:
    """The same clip as a lossless video file."""
    path = folder / "crossing.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"FFV1"), 10, SIZE)
    for number in range(frames):
        writer.write(picture(number))
    writer.release()
    return path
