"""Recognize the kind of data in a folder and open it: YOLO, COCO, a folder per class, pictures with masks."""

from __future__ import annotations

from pathlib import Path

from edge_app.errors import ConfigError
from edge_app.slim.data import classes, coco, masks, yolo
from edge_app.slim.data.examples import DataSet, check, read_mask, read_picture, with_classes
from edge_app.slim.recipe import HeadRecipe
from edge_app.terminal import over


def open_data(where: Path, head: HeadRecipe, held_out: float) -> DataSet:
    """Open the data of a head, and decode every picture once.

    Raises ConfigError: no such data, a class without examples, an annotation out of range, a picture that is damaged.
    """
    data = _opened(where, head, held_out)
    if head.classes:
        data = with_classes(data, head.classes)
    check(data)
    for example in over((*data.train, *data.held_out), "data", "pictures"):
        read_picture(example.path)
        if example.mask is not None:
            read_mask(example.mask, len(data.labels))
    return data


def _opened(where: Path, head: HeadRecipe, held_out: float) -> DataSet:
    if not where.exists():
        raise ConfigError(f"{where}: found nothing; expected the data to train on")
    if head.task in ("classify", "embed"):
        return classes.read(where, held_out)
    if head.task == "segment":
        return masks.read(where, held_out)
    if (description := yolo.find(where)) is not None:
        return yolo.read(description, held_out)
    if (files := coco.find(where)) is not None:
        return coco.read(where, files, held_out)
    raise ConfigError(f"{where}: found no boxes; expected data.yaml (YOLO), or annotations/*.json (COCO)")
