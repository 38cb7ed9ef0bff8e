"""Read the metadata of an ONNX file (`metadata_props`): task, labels, input.

Sources: ultralytics (`task`, `head`, `names`, `imgsz`, `kpt_shape`; YOLOv5 only `names`), PaddleOCR and RapidAI
(`character`), ONNX image metadata (`Image.BitmapPixelFormat`, `Image.NominalPixelRange`).
Not here: what follows from it (families.py, unsupported.py).
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edge_app.options.scalars import checked_text

_MAX_LITERAL = 1 << 20  # characters of a value; larger ones are ignored
_MAX_LABELS = 100_000
_COLORS: Mapping[str, Literal["rgb", "bgr"]] = {"rgb8": "rgb", "bgr8": "bgr"}
_RANGES = {"nominalrange_0_255": 1.0, "normalized_0_1": 255.0}


@dataclass(frozen=True, slots=True)
class Metadata:
    """The metadata of a file; a field is empty if it is missing or not readable.

    task: as ultralytics names it: detect, classify, segment, pose, obb, …. head: the class of the exporter's head.
    labels: in the order of the classes; for text recognition the characters. image_size: width and height, pixels.
    color, scale: the input's color order, and what its pixels 0..255 are divided by. keypoints: of a pose, their
    number, and the values of each.
    """

    task: str = ""
    head: str = ""
    labels: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    color: Literal["rgb", "bgr"] | None = None
    scale: float | None = None
    keypoints: tuple[int, int] | None = None


def parse(properties: Mapping[str, str]) -> Metadata:
    """Read the properties of a file. What cannot be read is left out."""
    read = {name: value for name, value in properties.items() if len(value) <= _MAX_LITERAL}
    return Metadata(
        task=_word(read.get("task", "")),
        head=_word(read.get("head", "")) or _described_head(read.get("description", "")),
        labels=_labels(literal(read.get("names"))) or _characters(read.get("character", "")),
        image_size=_size(literal(read.get("imgsz"))),
        color=_COLORS.get(read.get("Image.BitmapPixelFormat", "").lower()),
        scale=_RANGES.get(read.get("Image.NominalPixelRange", "").lower()),
        keypoints=_pair(literal(read.get("kpt_shape"))),
    )


def _size(size: object) -> tuple[int, int] | None:
    """Width and height of [height, width]."""
    pair = _pair(size)
    return None if pair is None else (pair[1], pair[0])


def _pair(value: object) -> tuple[int, int] | None:
    """Two positive whole numbers, else None."""
    if not isinstance(value, (list, tuple)) or len(value) != 2 or not all(type(n) is int and n > 0 for n in value):
        return None
    return value[0], value[1]


def _labels(names: object) -> tuple[str, ...]:
    """A list of names, or a dictionary of them by class number from 0; () if it is anything else."""
    if isinstance(names, dict):
        names = [names[i] for i in range(len(names))] if names.keys() == set(range(len(names))) else None
    if not isinstance(names, list) or not 0 < len(names) <= _MAX_LABELS:
        return ()
    try:
        labels = tuple(checked_text(name.strip()) for name in names if isinstance(name, str))
    except ValueError:
        return ()
    return labels if len(labels) == len(names) and all(labels) else ()


def _characters(text: str) -> tuple[str, ...]:
    """The characters of a text recognition, one a line; a space is one, too. () if one is no text."""
    lines = text.removesuffix("\n").split("\n") if text else []
    try:
        found = tuple(checked_text(line.removesuffix("\r")) for line in lines)
    except ValueError:
        return ()
    return found if all(found) and len(found) <= _MAX_LABELS else ()


def literal(text: str | None) -> object:
    """The value of a Python literal; None without a text, or if it is not a literal."""
    try:
        return None if text is None else ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        return None


def _word(text: str) -> str:
    return text if text.isascii() and text.isidentifier() else ""


def _described_head(description: str) -> str:
    """Before release 8.4, ultralytics names only the model: `Ultralytics rtdetr-l model`."""
    return "RTDETRDecoder" if "rtdetr" in description.lower() else ""
