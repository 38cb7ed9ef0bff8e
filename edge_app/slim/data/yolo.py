"""Boxes in YOLO's layout: data.yaml, pictures in `images`, and for each a text file in `labels`.

A line is `class x y width height`, of the box's center, 0..1; or a class and the corners of a polygon.
Source: the format of ultralytics.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import MAX_TEXT, MIB, read_regular
from edge_app.slim.data.examples import DataSet, Example, pictures, split

_TOLERANCE = 0.01  # boxes that exceed the picture by rounding are clipped
_MAX_LABELS = 16 * MIB


def find(where: Path) -> Path | None:
    """The description of the data: `where` itself, or the only .yaml in it; None if there is none."""
    if where.is_file():
        return where if where.suffix in (".yaml", ".yml") else None
    named = [where / "data.yaml", *sorted(where.glob("*.yaml"))]
    return next((path for path in named if path.is_file()), None)


def read(path: Path, held_out: float) -> DataSet:
    """Read data.yaml and the labels that it names. Raises ConfigError with file and line."""
    try:
        content = yaml.safe_load(read_regular(path, MAX_TEXT))
    except OSError as exc:
        raise ConfigError(f"{path}: cannot be read: {exc.strerror}; expected data.yaml") from exc
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError(f"{path}: is not YAML; expected `names` and `train`") from exc
    if not isinstance(content, dict) or "names" not in content or "train" not in content:
        raise ConfigError(f"{path}: found no `names` and `train`; expected YOLO's data.yaml")
    labels = _names(content["names"], path)
    root = path.parent / str(content.get("path") or ".")
    train = _examples(content["train"], root, labels, path)
    validation = content.get("val")
    has_own = validation and _folder(str(validation), root) not in (None, _folder(str(content["train"]), root))
    if has_own and (chosen := _examples(validation, root, labels, path)):
        return DataSet(path, labels, train, chosen)
    return DataSet(path, labels, *split(train, held_out))


def _names(names: Any, path: Path) -> tuple[str, ...]:
    if isinstance(names, dict):
        names = [names.get(i) for i in range(len(names))]
    if not isinstance(names, list) or not names or not all(isinstance(name, (str, int)) for name in names):
        raise ConfigError(f"{path}: names: found no list of names, nor names by number from 0; expected one of them")
    return tuple(foreign_text(name) for name in names)


def _folder(part: str, root: Path) -> Path | None:
    """A folder of pictures as data.yaml names it; None if there is none.

    Published files are often moved: `../train/images` can be `train/images`, and `images/train2017` only `images`.
    """
    inside = Path(*(word for word in Path(part).parts if word != ".."))
    found = [root / part, root / inside, *(root / parent for parent in inside.parents if parent != Path())]
    return next((folder for folder in found if folder.is_dir()), None)


def _examples(parts: Any, root: Path, labels: tuple[str, ...], path: Path) -> tuple[Example, ...]:
    found = []
    for part in parts if isinstance(parts, list) else [parts]:
        folder = _folder(str(part), root)
        if folder is None:
            raise ConfigError(f"{path}: found no folder '{foreign_text(root / str(part))}'; expected one with pictures")
        found += [_example(picture, labels) for picture in pictures(folder)]
    return tuple(found)


def _example(picture: Path, labels: tuple[str, ...]) -> Example:
    parts = list(picture.parts)
    places = [i for i, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    path = Path(*parts).with_suffix(".txt")
    if not path.exists():
        return Example(picture)  # background
    try:
        lines = read_regular(path, _MAX_LABELS).decode().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read as text; expected a line for each box") from exc
    rows = [_box(line, f"{path}:{i}", labels) for i, line in enumerate(lines, 1) if line.strip()]
    boxes = np.array([row[1:] for row in rows], np.float32).reshape(-1, 4)
    return Example(picture, boxes=boxes, classes=np.array([row[0] for row in rows], np.int64))


def _box(line: str, where: str, labels: tuple[str, ...]) -> tuple[int, float, float, float, float]:
    """Class, x1, y1, x2, y2."""
    try:
        number, *values = (float(word) for word in line.split())
    except ValueError:
        number, values = -1.0, []
    if len(values) < 4 or (len(values) != 4 and len(values) % 2) or not np.isfinite(values).all():
        raise ConfigError(f"{where}: found '{foreign_text(line, 60)}'; expected class, x, y, width, height")
    if number != int(number) or not 0 <= number < len(labels):
        raise ConfigError(f"{where}: found class {number:g}; expected 0 to {len(labels) - 1}")
    if len(values) == 4:
        x, y, width, height = values
        box = x - width / 2, y - height / 2, x + width / 2, y + height / 2
    else:
        box = min(values[::2]), min(values[1::2]), max(values[::2]), max(values[1::2])
    if min(box) < -_TOLERANCE or max(box) > 1 + _TOLERANCE or box[0] >= box[2] or box[1] >= box[3]:
        raise ConfigError(f"{where}: found a box outside the picture or without area; expected values 0 to 1")
    left, top, right, bottom = (min(max(value, 0.0), 1.0) for value in box)
    return int(number), left, top, right, bottom
