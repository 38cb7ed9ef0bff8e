"""A folder per class. With folders `train` and `val` (or `test`) in it, those are the parts."""

from __future__ import annotations

from pathlib import Path

from edge_app.errors import ConfigError, foreign_text
from edge_app.slim.data.examples import DataSet, Example, pictures, split

_HELD_OUT = ("val", "valid", "test")


def read(where: Path, held_out: float) -> DataSet:
    """Read the folders; the labels are their names, sorted. Raises ConfigError for an empty class."""
    train = where / "train" if (where / "train").is_dir() else where
    labels = _labels(train)
    examples = _examples(train, labels)
    other = next((where / name for name in _HELD_OUT if train != where and (where / name).is_dir()), None)
    if other is None:
        return DataSet(where, labels, *split(examples, held_out))
    unknown = [name for name in _labels(other) if name not in labels]
    if unknown:
        raise ConfigError(f"{other}: found the class '{foreign_text(unknown[0])}'; expected those of {train}")
    return DataSet(where, labels, tuple(examples), tuple(_examples(other, labels)))


def _labels(folder: Path) -> tuple[str, ...]:
    if not folder.is_dir():
        raise ConfigError(f"{folder}: found no folder; expected one with a folder for each class")
    labels = tuple(sorted(p.name for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")))
    if len(labels) < 2:
        raise ConfigError(f"{folder}: found {len(labels)} folders; expected one for each class, two at least")
    return labels


def _examples(folder: Path, labels: tuple[str, ...]) -> list[Example]:
    found = []
    for number, label in enumerate(labels):
        if (folder / label).is_dir():
            found += [Example(path, number) for path in pictures(folder / label)]
    return found
