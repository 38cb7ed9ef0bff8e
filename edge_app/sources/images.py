"""A folder of pictures, in the order of their names.

Pictures may differ in size. Subfolders and files of other kinds are left out.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import ClipError, EndOfClip
from edge_app.frame import Frame, UInt8
from edge_app.options import Range
from edge_app.sources._opencv import silence
from edge_app.sources._pace import Pace, Pacer

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
# A decoder turns a file that was cut off into a half grey picture: so the end of the format is looked for.
_ENDS = {b"\xff\xd8": (b"\xff\xd9", "JPEG"), b"\x89PNG": (b"IEND", "PNG")}
_TRAILER = 4096  # bytes behind the end that some cameras append


class Source:
    """`images`: options path (the folder), fps (of the stamps), pace, loop."""

    live = None

    def __init__(
        self,
        clock: Clock,
        *,
        path: Path,
        fps: Annotated[float, Range(0.001, 1000)] = 10.0,
        pace: Pace = "realtime",
        loop: bool = False,
    ) -> None:
        silence()
        self._paths = _pictures(path)
        self._period_ns = 1e9 / fps
        self._loop = loop
        self._pacer = Pacer(clock, "images", pace)
        self._index = count()

    def read(self, timeout_s: float) -> Frame | None:
        if not self._pacer.pending:
            index = next(self._index)
            if index >= len(self._paths) and not self._loop:
                raise EndOfClip
            self._pacer.offer(_decode(self._paths[index % len(self._paths)]), round(index * self._period_ns))
        return self._pacer.take(timeout_s)

    def close(self) -> None:
        """Nothing is held open."""


def _pictures(folder: Path) -> list[Path]:
    expected = f"expected a folder of pictures ({' '.join(suffix[1:] for suffix in _SUFFIXES)})"
    if not folder.is_dir():
        raise ClipError(f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; {expected}")
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
    except OSError as exc:
        raise ClipError(f"{folder}: cannot be read: {exc.strerror}; {expected}") from exc
    if not paths:
        raise ClipError(f"{folder}: holds no picture; {expected}")
    return paths


def _decode(path: Path) -> UInt8:
    """BGR (H, W, 3). Raises ClipError where the file is missing, empty, cut off or no picture."""
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise ClipError(f"{path}: cannot be read: {exc.strerror}; expected a picture") from exc
    if not data:
        raise ClipError(f"{path}: is empty (0 bytes); expected a picture")
    for start, (end, name) in _ENDS.items():
        if data.startswith(start) and end not in data[-_TRAILER:]:
            found = f"was cut off: a {name} of {len(data)} bytes without its end"
            raise ClipError(f"{path}: {found}; expected a whole picture")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:  # more pixels than OpenCV allows
        raise ClipError(f"{path}: cannot be decoded: {exc.err}; expected a picture") from exc
    if pixels is None:
        raise ClipError(f"{path}: cannot be decoded, {len(data)} bytes; expected a picture")
    return pixels.astype(np.uint8, copy=False)
