"""Images to calibrate with and to compare on: frames of a clip, or images of a folder, evenly spaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_app.errors import ClipError, ConfigError
from edge_app.frame import Frame, UInt8
from edge_app.geometry.boxes import Transform
from edge_app.inference.preprocess import Preprocess
from edge_app.model.schema import Input
from edge_app.sources._limits import too_large
from edge_app.sources._opencv import frame_size
from edge_app.sources.images import decode

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
_FLAT = 2.0  # gray levels of standard deviation; an image below it shows nothing


@dataclass(frozen=True, slots=True)
class CalibrationImages:
    """Images fitted into a model's input.

    pixels: (N, H, W, 3) uint8 BGR. transforms: one per image. calibration, held_out: row numbers; INT8 scales come from
    the first, reported figures from the second. origin: for messages.
    """

    pixels: UInt8
    transforms: tuple[Transform, ...]
    calibration: tuple[int, ...]
    held_out: tuple[int, ...]
    origin: str

    def warnings(self) -> list[str]:
        """Reasons why INT8 scales from these images would be poor."""
        if all(float(self.pixels[i].std()) < _FLAT for i in self.calibration):
            return [f"{self.origin}: every calibration image has a single color: the int8 scales are meaningless"]
        if len(self.calibration) < 8:
            return [f"{self.origin}: only {len(self.calibration)} calibration images; expected 20 or more"]
        return []


def load(path: Path, spec: Input, calibration: int, held_out: int) -> CalibrationImages:
    """Read a clip or folder. spec: gives size and resize. Raises ConfigError if nothing can be read.

    calibration, held_out: how many images to use for each.
    """
    read = list(_folder(path, calibration + held_out) if path.is_dir() else _clip(path, calibration + held_out))
    if not read:
        raise ConfigError(f"--calibrate {path}: found no image; expected a clip, or a folder of {', '.join(_SUFFIXES)}")
    preprocess = Preprocess(_uint8(spec))
    laid = []
    for sequence, image in enumerate(read):
        tensor, transform = preprocess.prepare(Frame("calibrate", sequence, 0, 0, image))
        laid.append((tensor[0].copy(), transform))
    share = max(2, round((calibration + held_out) / held_out))
    evaluated = tuple(i for i in range(len(laid)) if i % share == share // 2) if len(laid) > 1 else ()
    rest = tuple(i for i in range(len(laid)) if i not in evaluated)
    return CalibrationImages(
        np.stack([t for t, _ in laid]), tuple(t for _, t in laid), rest, evaluated or rest, str(path)
    )


def joined(parts: Sequence[CalibrationImages]) -> CalibrationImages:
    """Join several clips or folders."""
    starts = np.cumsum([0, *(len(part.pixels) for part in parts)])
    return CalibrationImages(
        np.concatenate([part.pixels for part in parts]),
        tuple(t for part in parts for t in part.transforms),
        tuple(int(start) + i for start, part in zip(starts, parts) for i in part.calibration),
        tuple(int(start) + i for start, part in zip(starts, parts) for i in part.held_out),
        ", ".join(part.origin for part in parts),
    )


def synthetic(spec: Input, count: int = 4) -> CalibrationImages:
    """Blobs and edges from a fixed seed, used without --calibrate: enough to compare graphs."""
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (640, 480), interpolation=cv2.INTER_CUBIC)
        for _ in range(8):
            x, y = (int(n) for n in rng.integers(0, (560, 400)))
            color = tuple(int(c) for c in rng.integers(0, 256, 3))
            cv2.rectangle(image, (x, y), (x + int(rng.integers(20, 200)), y + int(rng.integers(20, 200))), color, -1)
        images.append(image)
    preprocess = Preprocess(_uint8(spec))
    laid = [
        (tensor[0].copy(), transform)
        for tensor, transform in (
            preprocess.prepare(Frame("seeded", i, 0, 0, np.asarray(m, np.uint8))) for i, m in enumerate(images)
        )
    ]
    rows = tuple(range(count))
    return CalibrationImages(np.stack([t for t, _ in laid]), tuple(t for _, t in laid), rows, rows, "synthetic images")


def _uint8(spec: Input) -> Input:
    return Input(
        spec.width,
        spec.height,
        "bgr",
        "nhwc",
        "uint8",
        resize=spec.resize,
        pad=spec.pad,
        crop_fraction=spec.crop_fraction,
    )


def _folder(path: Path, most: int) -> Iterator[UInt8]:
    files = sorted(file for file in path.iterdir() if file.suffix.lower() in _SUFFIXES)
    for index in _spread(len(files), most):
        try:
            yield decode(files[index])
        except ClipError as exc:
            raise ConfigError(f"--calibrate {exc}") from exc


def _clip(path: Path, most: int) -> Iterator[UInt8]:
    if not path.exists():
        raise ConfigError(f"--calibrate {path}: not found; expected a clip or a folder of images")
    capture = cv2.VideoCapture(str(path))
    try:
        if problem := too_large(*frame_size(capture)):
            raise ConfigError(f"--calibrate {path}: {problem}")
        indices = set(_spread(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), most))
        for index in range(max(indices, default=-1) + 1):
            if not capture.grab():
                break
            if index in indices:
                good, image = capture.retrieve()
                if good:
                    yield np.asarray(image, np.uint8)
    finally:
        capture.release()


def _spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` positions, evenly spread."""
    if count <= most:
        return list(range(max(0, count)))
    return [int(i) for i in np.linspace(0, count - 1, most).round()]
