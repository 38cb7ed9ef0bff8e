"""Tiny data sets for the tests of training: colored squares, written in each layout."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

COLORS = {"blue": (220, 40, 40), "green": (40, 200, 40), "red": (40, 40, 220)}
SIDE = 64


def picture(rng: np.random.Generator, color: tuple[int, int, int]) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """A picture (64, 64, 3) with one square on noise, and its x1, y1, x2, y2."""
    image = rng.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
    side = int(rng.integers(20, 36))
    x, y = (int(rng.integers(0, SIDE - side)) for _ in range(2))
    image[y : y + side, x : x + side] = color
    return image, (x, y, x + side, y + side)


def yolo(folder: Path, count: int = 12) -> Path:
    """data.yaml, images and labels of two classes: blue and red."""
    rng = np.random.default_rng(0)
    for name in ("images", "labels"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        number = i % 2
        image, (x1, y1, x2, y2) = picture(rng, COLORS[("blue", "red")[number]])
        cv2.imwrite(str(folder / "images" / f"{i:02}.png"), image)
        center = (x1 + x2) / 2 / SIDE, (y1 + y2) / 2 / SIDE, (x2 - x1) / SIDE, (y2 - y1) / SIDE
        (folder / "labels" / f"{i:02}.txt").write_text(f"{number} " + " ".join(f"{v:.6f}" for v in center) + "\n")
    (folder / "data.yaml").write_text("path: .\ntrain: images\nval: images\nnames: {0: blue, 1: red}\n")
    return folder / "data.yaml"


def coco(folder: Path, count: int = 6) -> Path:
    """images and annotations/train.json of the categories 3 (blue) and 7 (red)."""
    rng = np.random.default_rng(1)
    (folder / "images").mkdir(parents=True)
    (folder / "annotations").mkdir()
    content: dict[str, list] = {"categories": [{"id": 7, "name": "red"}, {"id": 3, "name": "blue"}]}
    content |= {"images": [], "annotations": []}
    for i in range(count):
        image, (x1, y1, x2, y2) = picture(rng, COLORS[("blue", "red")[i % 2]])
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
        content["images"].append({"id": i, "file_name": f"{i}.png", "width": SIDE, "height": SIDE})
        box = [x1, y1, x2 - x1, y2 - y1]
        content["annotations"].append({"id": i, "image_id": i, "category_id": (3, 7)[i % 2], "bbox": box})
    (folder / "annotations" / "train.json").write_text(json.dumps(content))
    return folder


def classes(folder: Path, count: int = 8) -> Path:
    """A folder for each color."""
    rng = np.random.default_rng(2)
    for name, color in COLORS.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            cv2.imwrite(str(folder / name / f"{i}.png"), picture(rng, color)[0])
    return folder


def masks(folder: Path, count: int = 6) -> Path:
    """images and masks: white where the square is."""
    rng = np.random.default_rng(3)
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i in range(count):
        image, (x1, y1, x2, y2) = picture(rng, COLORS["red"])
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[y1:y2, x1:x2] = 255
        cv2.imwrite(str(folder / "images" / f"{i}.png"), image)
        cv2.imwrite(str(folder / "masks" / f"{i}.png"), mask)
    return folder
