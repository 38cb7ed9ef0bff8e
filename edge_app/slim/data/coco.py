"""Boxes in COCO's layout: JSON files with `images`, `annotations` and `categories`, and the pictures.

Source: the format of cocodataset.org; `bbox` is x, y, width, height in pixels. Crowds are left out.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import MIB, read_regular
from edge_app.slim.data.examples import DataSet, Example, pictures, split

_MAX_JSON = 2048 * MIB
_TOLERANCE_PX = 1.0
_KEYS = ("images", "annotations", "categories")


def find(where: Path) -> list[Path] | None:
    """The annotation files: `where` itself, or those in it or in its folder `annotations`; None if there are none."""
    if where.is_file():
        return [where] if where.suffix == ".json" else None
    return sorted([*where.glob("annotations/*.json"), *where.glob("*.json")]) or None


def read(where: Path, files: Sequence[Path], held_out: float) -> DataSet:
    """Read annotation files; one with `val` in its name is held out. Raises ConfigError with the annotation."""
    root = where if where.is_dir() else where.parent
    known = {path.name: path for path in pictures(root)}
    labels: tuple[str, ...] | None = None
    train: list[Example] = []
    validation: list[Example] = []
    for path in files:
        content = _content(path)
        names = tuple(foreign_text(c["name"]) for c in sorted(content["categories"], key=lambda c: int(c["id"])))
        if labels is not None and labels != names:
            raise ConfigError(f"{path}: found other categories than in {files[0].name}; expected the same")
        labels = names
        (validation if "val" in path.stem else train).extend(_examples(content, path, known))
    if validation and train:
        return DataSet(where, labels or (), tuple(train), tuple(validation))
    return DataSet(where, labels or (), *split([*train, *validation], held_out))


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_regular(path, _MAX_JSON))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}; expected COCO annotations") from exc
    except (ValueError, RecursionError) as exc:
        raise ConfigError(f"{path}: is not JSON; expected COCO annotations") from exc
    if not isinstance(content, dict) or not all(isinstance(content.get(key), list) for key in _KEYS):
        raise ConfigError(f"{path}: found no {', '.join(_KEYS)}; expected COCO annotations of boxes")
    return content


def _examples(content: dict[str, Any], path: Path, known: dict[str, Path]) -> list[Example]:
    try:
        number = {c["id"]: i for i, c in enumerate(sorted(content["categories"], key=lambda c: int(c["id"])))}
        images = {image["id"]: image for image in content["images"]}
        rows: dict[Any, list[tuple[int, list[float]]]] = {key: [] for key in images}
        for annotation in content["annotations"]:
            if annotation.get("iscrowd"):
                continue
            where = f"{path}: annotation {foreign_text(annotation.get('id', '?'), 20)}"
            if annotation["category_id"] not in number:
                found = foreign_text(annotation["category_id"], 20)
                raise ConfigError(f"{where}: found category {found}; expected one of `categories`")
            if annotation["image_id"] not in images:
                raise ConfigError(f"{where}: found an image_id that `images` lacks; expected a listed one")
            box = _box(annotation["bbox"], images[annotation["image_id"]], where)
            rows[annotation["image_id"]].append((number[annotation["category_id"]], box))
        return [_example(image, rows[key], path, known) for key, image in images.items()]
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ConfigError(
            f"{path}: found an entry without a key or with a wrong type; expected COCO annotations"
        ) from exc


def _box(box: Sequence[float], image: dict[str, Any], where: str) -> list[float]:
    x, y, width, height = (float(value) for value in box)
    w, h = float(image["width"]), float(image["height"])
    inside = x >= -_TOLERANCE_PX and y >= -_TOLERANCE_PX and x + width <= w + _TOLERANCE_PX
    if not (inside and y + height <= h + _TOLERANCE_PX and width > 0 and height > 0):
        raise ConfigError(f"{where}: found a box outside its picture or without area; expected x, y, width, height")
    return [max(x, 0) / w, max(y, 0) / h, min(x + width, w) / w, min(y + height, h) / h]


def _example(image: dict[str, Any], rows: list[tuple[int, list[float]]], path: Path, known: dict[str, Path]) -> Example:
    name = Path(str(image["file_name"])).name
    if name not in known:
        raise ConfigError(f"{path}: found no picture '{foreign_text(name)}'; expected it in the folder of the data")
    boxes = np.array([box for _, box in rows], np.float32).reshape(-1, 4)
    return Example(known[name], boxes=boxes, classes=np.array([c for c, _ in rows], np.int64))
