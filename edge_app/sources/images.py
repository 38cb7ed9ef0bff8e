"""A folder of images, sorted by name.

Images may differ in size. Subfolders and other files are ignored. The size that a header declares is checked before
the image is decoded.
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
from edge_app.options.files import read_regular
from edge_app.sources._limits import declared_size, max_pixels, too_large
from edge_app.sources._opencv import silence
from edge_app.sources._pace import Pace, Pacer

_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")
# Decoders return a half-gray image for a truncated file, so the end marker of the format is checked.
_ENDS = {b"\xff\xd8": (b"\xff\xd9", "JPEG"), b"\x89PNG": (b"IEND", "PNG")}
_TRAILER = 4096  # bytes that some cameras append after the end marker
_BYTES_PER_PIXEL = 4  # at most, of a file


class Source:
    """`images`. path: the folder. fps: determines the timestamps. loop: start again at the end."""

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
        self._paths = _image_files(path)
        self._period_ns = 1e9 / fps
        self._loop = loop
        self._pacer = Pacer(clock, "images", pace)
        self._index = count()

    def read(self, timeout_s: float) -> Frame | None:
        if not self._pacer.pending:
            index = next(self._index)
            if index >= len(self._paths) and not self._loop:
                raise EndOfClip
            self._pacer.hold(decode(self._paths[index % len(self._paths)]), round(index * self._period_ns))
        return self._pacer.pop_due(timeout_s)

    def close(self) -> None:
        """No resources to release."""


def _image_files(folder: Path) -> list[Path]:
    expected = f"expected a folder of images ({' '.join(suffix[1:] for suffix in _SUFFIXES)})"
    if not folder.is_dir():
        raise ClipError(f"{folder}: {'is a file' if folder.exists() else 'no such folder'}; {expected}")
    try:
        paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
    except OSError as exc:
        raise ClipError(f"{folder}: cannot be read: {exc.strerror}; {expected}") from exc
    if not paths:
        raise ClipError(f"{folder}: contains no image; {expected}")
    return paths


def decode(path: Path) -> UInt8:
    """Decode an image to BGR (H, W, 3). Raises ClipError if the file is empty, truncated, too large or not an image."""
    try:
        data = read_regular(path, max_pixels() * _BYTES_PER_PIXEL)
    except OSError as exc:
        raise ClipError(f"{path}: cannot be read: {exc.strerror}; expected an image") from exc
    if not data:
        raise ClipError(f"{path}: is empty (0 bytes); expected an image")
    for start, (end, name) in _ENDS.items():
        if data.startswith(start) and end not in data[-_TRAILER:]:
            found = f"is truncated: a {name} of {len(data)} bytes without its end marker"
            raise ClipError(f"{path}: {found}; expected a complete image")
    size = declared_size(data)
    if size is None:
        raise ClipError(f"{path}: cannot be decoded, {len(data)} bytes; expected an image (BMP, JPEG, PNG or WebP)")
    if problem := too_large(*size):
        raise ClipError(f"{path}: {problem}")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as exc:  # more pixels than OpenCV allows
        raise ClipError(f"{path}: cannot be decoded: {exc.err}; expected an image") from exc
    if pixels is None:
        raise ClipError(f"{path}: cannot be decoded, {len(data)} bytes; expected an image (BMP, JPEG, PNG or WebP)")
    return pixels.astype(np.uint8, copy=False)
