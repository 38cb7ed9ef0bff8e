"""An example, a data set, and the checks that every kind of data passes before training starts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import MIB, read_regular

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".pgm", ".ppm", ".tif", ".tiff")
_MAX_PICTURE = 256 * MIB
_IGNORED = 255  # in masks


def _no_boxes() -> NDArray[np.float32]:
    return np.zeros((0, 4), np.float32)


def _no_classes() -> NDArray[np.int64]:
    return np.zeros(0, np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """A picture with what is known of it. label: of the whole image. mask: a file of class numbers by pixel.

    boxes: (N, 4) float32 x1, y1, x2, y2, 0..1 of the image. classes: (N,) int64, of the boxes.
    """

    path: Path
    label: int = -1
    boxes: NDArray[np.float32] = field(default_factory=_no_boxes)
    classes: NDArray[np.int64] = field(default_factory=_no_classes)
    mask: Path | None = None


@dataclass(frozen=True, slots=True)
class DataSet:
    """Examples to train on, and others that choose nothing. labels: by class number."""

    where: Path
    labels: tuple[str, ...]
    train: tuple[Example, ...]
    held_out: tuple[Example, ...]

    def fingerprint(self) -> str:
        """Changes if the labels, the files or the annotations change; not if only pixels do."""
        digest = hashlib.sha256(repr(self.labels).encode())
        for example in (*self.train, *self.held_out):
            parts = example.path.name, example.label, example.boxes.tolist(), example.classes.tolist()
            digest.update(repr(parts).encode())
        return digest.hexdigest()


def pictures(folder: Path) -> list[Path]:
    """The pictures below a folder, sorted. Raises ConfigError if it is not a folder."""
    if not folder.is_dir():
        raise ConfigError(f"{folder}: found no folder; expected one with pictures")
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in EXTENSIONS)


def split(examples: Iterable[Example], fraction: float) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Examples to train on, and a fraction to hold out: chosen by the name of the file, so more data moves none."""
    train: list[Example] = []
    held_out: list[Example] = []
    for example in examples:
        digest = hashlib.sha256(f"{example.path.parent.name}/{example.path.name}".encode()).digest()
        (held_out if int.from_bytes(digest[:4], "big") < fraction * 2**32 else train).append(example)
    return tuple(train), tuple(held_out)


def with_classes(data: DataSet, names: Sequence[str]) -> DataSet:
    """Only some classes, renumbered. Pictures of scenes stay, as background. Raises ConfigError for unknown names."""
    for name in names:
        if name not in data.labels:
            known = ", ".join(map(foreign_text, data.labels[:10]))
            raise ConfigError(f"{data.where}: found no class '{foreign_text(name)}'; expected one of {known}")
    number = {data.labels.index(name): i for i, name in enumerate(names)}

    def chosen(examples: Sequence[Example]) -> tuple[Example, ...]:
        found = []
        for example in examples:
            if example.label >= 0 and example.label not in number:
                continue
            keep = np.array([int(c) in number for c in example.classes], bool)
            classes = np.array([number[int(c)] for c in example.classes[keep]], np.int64)
            label = number.get(example.label, -1)
            found.append(replace(example, label=label, boxes=example.boxes[keep], classes=classes))
        return tuple(found)

    return DataSet(data.where, tuple(names), chosen(data.train), chosen(data.held_out))


def check(data: DataSet) -> None:
    """Raise ConfigError if there is nothing to train on, or a class without examples."""
    if not data.train:
        raise ConfigError(f"{data.where}: found no examples to train on; expected pictures with annotations")
    if any(example.mask is not None for example in data.train):
        return  # classes of masks are counted when they are read
    present = {example.label for example in data.train} | {int(c) for e in data.train for c in e.classes}
    empty = [foreign_text(label) for i, label in enumerate(data.labels) if i not in present]
    if empty:
        more = f" and {len(empty) - 1} more" if len(empty) > 1 else ""
        found = f"found no example of the class '{empty[0]}'{more}"
        raise ConfigError(f"{data.where}: {found}; expected some, or a recipe whose `classes` leave it out")


def read_picture(path: Path) -> NDArray[np.uint8]:
    """A picture as (H, W, 3) uint8 BGR. Raises ConfigError if it cannot be read or decoded."""
    image = _decoded(path, cv2.IMREAD_COLOR)
    return np.asarray(image, np.uint8)


def read_mask(path: Path, classes: int) -> NDArray[np.uint8]:
    """A mask as (H, W) uint8: 0 is background, 255 is not judged. Raises ConfigError for a class out of range."""
    mask = _decoded(path, cv2.IMREAD_UNCHANGED)
    if mask.ndim != 2 or mask.dtype != np.uint8:
        raise ConfigError(
            f"{path}: found a mask of {mask.shape[2:] or 1} channels, {mask.dtype}; expected gray, 8 bits"
        )
    values = np.unique(mask)
    wrong = values[(values > classes) & (values != _IGNORED)]
    if classes == 1 and set(values.tolist()) <= {0, _IGNORED}:
        return (mask > 0).astype(np.uint8)  # black and white
    if len(wrong):
        raise ConfigError(f"{path}: found class {wrong[0]}; expected 0 to {classes}, or 255 where it is unknown")
    return mask


def _decoded(path: Path, flags: int) -> NDArray[Any]:
    try:
        data = read_regular(path, _MAX_PICTURE)
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}; expected a picture") from exc
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), flags) if data else None
    except cv2.error:  # a size over OpenCV's limit
        image = None
    if image is None:
        raise ConfigError(f"{path}: cannot be decoded; expected a complete picture")
    return np.asarray(image)
