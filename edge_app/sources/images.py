"""A folder of images in natural order of their names, or one image.

Images may differ in size. Subfolders, hidden files and other files are ignored. A damaged image is skipped and counted.
The size that a header declares is checked before the image is decoded.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np

from edge_app.clock import Clock
from edge_app.errors import ClipError, EndOfClip
from edge_app.frame import Frame, UInt8
from edge_app.options import Range
from edge_app.options.files import read_regular
from edge_app.sources import IMAGE_SUFFIXES
from edge_app.sources._jpeg import is_complete
from edge_app.sources._limits import declared_size, max_pixels, too_large
from edge_app.sources._opencv import silence
from edge_app.sources._pace import Pace, Pacer

_PNG, _PNG_END = b"\x89PNG", b"IEND\xaeB`\x82"
_JPEG = b"\xff\xd8"
_DIGITS = 4000  # of a number in a name, the last ones; Python converts at most 4300
_MAX_REPORTS = 10  # damaged images with a line of their own; all are counted
_LOG = logging.getLogger(__name__)
_BYTES_PER_PIXEL = 4  # at most, of a file


class Source:
    """`images`. path: the folder, or an image. fps: determines the timestamps. loop: start again at the end.

    missing: images that could not be decoded, in this pass over the folder.
    """

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
        self._folder = path
        self._paths = _image_files(path)
        self._period_ns = 1e9 / fps
        self._loop = loop
        self._pacer = Pacer(clock, "images", pace)
        self._index = 0
        self._first_pass = True
        self.missing = 0
        self.length = None if loop else len(self._paths)

    def read(self, timeout_s: float) -> Frame | None:
        while not self._pacer.pending:
            position = self._index % len(self._paths)
            if self._index and position == 0:
                self._end_pass()
            self._decode(self._paths[position])
            self._index += 1
        return self._pacer.pop_due(timeout_s)

    def _decode(self, path: Path) -> None:
        """Hold an image, or report and count it if it is damaged. Raises ClipError if it is the only one."""
        try:
            pixels = decode(path)
        except ClipError as exc:
            if len(self._paths) == 1:
                raise
            self.missing += 1
            if self._first_pass and self.missing <= _MAX_REPORTS:
                _LOG.warning("%s; skipped", exc)
            return
        self._pacer.hold(pixels, round(self._index * self._period_ns))

    def _end_pass(self) -> None:
        if self.missing == len(self._paths):
            raise ClipError(f"{self._folder}: none of its {self.missing} images can be decoded; expected images")
        if self.missing and self._first_pass:
            _LOG.warning("%s: images that could not be decoded: %d of %d", self._folder, self.missing, len(self._paths))
        self._first_pass = False
        if not self._loop:
            raise EndOfClip
        self.missing = 0

    def close(self) -> None:
        """No resources to release."""


def _image_files(path: Path) -> list[Path]:
    """The image, or those of a folder. Raises ClipError if there is none."""
    expected = f"expected a folder of images ({' '.join(suffix[1:] for suffix in IMAGE_SUFFIXES)})"
    if path.is_file() and path.suffix.lower() in IMAGE_SUFFIXES:
        return [path]
    if not path.is_dir():
        raise ClipError(f"{path}: {'is a file' if path.exists() else 'no such folder'}; {expected}")
    try:
        paths = sorted((p for p in path.iterdir() if _is_image(p)), key=_natural)
    except OSError as exc:
        raise ClipError(f"{path}: cannot be read: {exc.strerror}; {expected}") from exc
    if not paths:
        raise ClipError(f"{path}: contains no image; {expected}")
    return paths


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".") and path.is_file()


def _natural(path: Path) -> tuple[list[tuple[str, int]], str]:
    """Sort key: numbers by their value, 2 before 10. The name itself decides between 1 and 01."""
    parts = re.split(r"([0-9]+)", path.stem)  # text, number, text, …
    return [(text, int(number[-_DIGITS:] or 0)) for text, number in zip(parts[::2], [*parts[1::2], ""])], path.name


def decode(path: Path) -> UInt8:
    """Decode an image to BGR (H, W, 3). Raises ClipError if the file is empty, truncated, too large or not an image."""
    try:
        data = read_regular(path, max_pixels() * _BYTES_PER_PIXEL)
    except OSError as exc:
        raise ClipError(f"{path}: cannot be read: {exc.strerror}; expected an image") from exc
    if not data:
        raise ClipError(f"{path}: is empty (0 bytes); expected an image")
    if name := _truncated(data):
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


def _truncated(data: bytes) -> str:
    """The format of an image without its end marker, after which other data may follow; "" if it is complete.

    Decoders return a half-gray image for a truncated file.
    """
    if data.startswith(_JPEG) and not is_complete(data):
        return "JPEG"
    return "PNG" if data.startswith(_PNG) and _PNG_END not in data else ""
