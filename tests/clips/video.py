"""Moving pictures, and reading clips back."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from edge_app.frame import Event, Frame

SECOND = 1_000_000_000


def frame(number: int, fps: float = 10.0, *, width: int = 320, height: int = 240, value: int | None = None) -> Frame:
    """A gray image whose brightness says its number, unless `value` does."""
    level = 8 * number % 256 if value is None else value
    pixels = np.full((height, width, 3), level, np.uint8)
    at_ns = round(number / fps * SECOND)
    return Frame("cam", number, at_ns, 1_700_000_000 * SECOND + at_ns, pixels)


def event(type_: str = "new", id_: str = "door-1-1", start_s: float = 0.0, rule: str = "door") -> Event:
    return Event(type_, id_, rule, "zone", round(start_s * SECOND), round(start_s * SECOND))


def levels(path: Path) -> tuple[float, list[int]]:
    """Frames per second of a video, and the mean brightness of each frame."""
    capture = cv2.VideoCapture(str(path))
    rate, found = capture.get(cv2.CAP_PROP_FPS), []
    while True:
        ok, image = capture.read()
        if not ok:
            break
        found.append(round(float(image.mean())))
    capture.release()
    return rate, found
