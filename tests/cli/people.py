"""A model folder that finds faces by the brightness of a picture and embeds their pattern, and pictures for it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.compiler.graphs import Graph

SIZE = 64
NOBODY, ONE, TWO, NO_LANDMARKS = 10, 120, 230, 40  # mean gray levels
MODEL = """\
format: 1
name: people
input: {width: 64, height: 64, color: bgr, resize: stretch, std: [1, 1, 1]}
heads:
  faces: {family: scrfd, graph: {onnx: faces.onnx}, labels: [face]}
  face:
    family: embed
    graph: {onnx: face.onnx}
    crops: {of: faces, align: face5, input: {width: 112, height: 112, color: bgr, resize: stretch, std: [1, 1, 1]}}
"""
CONFIG = """\
device: {id: cam, state_dir: state}
source: {type: images, path: pictures}
model: {path: model}
rules:
  - {name: door, type: identity, head: face, threshold: 0.9, frames: 2}
sinks: [{type: jsonl, path: "-"}]
"""


def write(folder: Path) -> Path:
    """Write config.yaml and the model. Returns the path of config.yaml."""
    (folder / "model").mkdir()
    (folder / "model/model.yaml").write_text(MODEL, encoding="utf-8")
    _write_faces(folder / "model/faces.onnx")
    write_embedding(folder / "model/face.onnx")
    path = folder / "config.yaml"
    path.write_text(CONFIG, encoding="utf-8")
    return path


def picture(path: Path, person: int, gray: int = ONE, noise: int = 0) -> Path:
    """A pattern of the person at a mean gray level. noise: another picture of the same person."""
    pattern = np.random.default_rng(person).normal(0, 1, (4, 4, 3))
    small = gray + 8 * (pattern - pattern.mean())
    pixels = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_NEAREST)
    pixels += np.random.default_rng(100 + noise).normal(0, 3 if noise else 0, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(pixels, 0, 255).astype(np.uint8))
    return path


def write_embedding(path: Path, size: int = 112, batch: int | str = 1) -> None:
    """The colors of 4 x 4 parts of a crop, without their mean: (1, 48)."""
    g = Graph()
    pooled = g.node("AveragePool", "image", kernel_shape=[size // 4] * 2, strides=[size // 4] * 2)
    flat = g.node("Flatten", pooled, axis=1)
    mean = g.node("ReduceMean", flat, axes=[1], keepdims=1)
    g.save(path, {"vector": g.node("Sub", flat, mean)}, shape=(batch, 3, size, size))


def _write_faces(path: Path) -> None:
    """SCRFD's outputs: a face for a gray level over 20, a second over 200; landmarks are NaN below 60."""
    g = Graph()
    mean = g.node("ReduceMean", "image", axes=[1, 2, 3], keepdims=0)

    def above(level: float) -> str:
        return g.node("Cast", g.node("Greater", mean, g.weight(np.float32([level]))), to=1)

    outputs = {}
    for stride in (8, 16, 32):
        rows = 2 * (SIZE // stride) ** 2
        scores = np.zeros((2, 1, rows, 1), np.float32)
        boxes, points = np.full((1, rows, 4), 1, np.float32), np.zeros((1, rows, 10), np.float32)
        if stride == 8:
            scores[0, 0, 2 * 9], scores[1, 0, 2 * 13] = 0.9, 0.8  # cells (1, 1) and (5, 1)
            boxes[0, 2 * 9], boxes[0, 2 * 13] = (0, 0, 3, 3), (0, 0, 1, 1)
            points[0, 2 * 9] = np.array([[0.8, 1], [2, 1], [1.4, 1.7], [0.9, 2.4], [1.9, 2.4]]).reshape(-1)
        first, second = (g.node("Mul", g.weight(scores[i]), above(level)) for i, level in ((0, 20), (1, 200)))
        outputs[f"score_{stride}"] = g.node("Add", first, second)
        outputs[f"bbox_{stride}"] = g.node("Mul", g.weight(boxes), above(-1))
        usable = above(60)
        outputs[f"kps_{stride}"] = g.node("Mul", g.weight(points), g.node("Div", usable, usable))  # 0 / 0 is NaN
    g.save(path, outputs, shape=(1, 3, SIZE, SIZE))
