"""Pictures in `images`, and masks of the same name in `masks`: gray PNGs of class numbers, 0 for background.

`labels.txt` names the classes from 1 on, a line each; without it there is one class. 255 marks pixels that are not
judged; in masks of one class, black and white will do.
"""

from __future__ import annotations

from pathlib import Path

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import MAX_TEXT, read_regular
from edge_app.slim.data.examples import DataSet, Example, pictures, split


def read(where: Path, held_out: float) -> DataSet:
    """Read the folders. Raises ConfigError for a picture without a mask."""
    masks = {path.stem: path for path in pictures(where / "masks")}
    examples = []
    for path in pictures(where / "images"):
        if path.stem not in masks:
            raise ConfigError(f"{path}: found no mask; expected {where / 'masks' / path.stem}.png")
        examples.append(Example(path, mask=masks[path.stem]))
    return DataSet(where, _labels(where / "labels.txt"), *split(examples, held_out))


def _labels(path: Path) -> tuple[str, ...]:
    if not path.exists():
        return ("object",)
    try:
        lines = read_regular(path, MAX_TEXT).decode().splitlines()
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"{path}: cannot be read as text; expected one label per line") from exc
    labels = tuple(foreign_text(line.strip()) for line in lines if line.strip())
    if not labels:
        raise ConfigError(f"{path}: is empty; expected one label per line")
    return labels
