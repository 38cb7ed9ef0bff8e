"""CPU time of decoding and suppression in heads: 8,400 rows of a 640x640 input, of which some objects are kept.

`OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 python -m edge_app.bench.decode`. Each object has four rows above the
threshold. Not here: whole frames (pipeline.py).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.frame import Float32
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec

SIZE, ROWS, RUNS = (640, 640), 8400, 300
_TRANSFORM = fit((1920, 1080), SIZE, "letterbox")
_PER_OBJECT, _KEYPOINTS, _PROTOTYPES = 4, 17, 32


def table(classes: int, objects: int, extra: Float32) -> Float32:
    """(1, 4 + classes + E, ROWS): boxes, scores and further values, of which `extra` (E,) are those of the objects."""
    rng = np.random.default_rng(0)
    values = np.zeros((4 + classes + len(extra), ROWS), np.float32)
    values[:2], values[2:4] = rng.uniform(0, 640, (2, ROWS)), rng.uniform(10, 60, (2, ROWS))
    values[4 : 4 + classes] = rng.uniform(0, 0.05, (classes, ROWS))
    for row in range(objects * _PER_OBJECT):
        column, line = row // _PER_OBJECT % 5, row // _PER_OBJECT // 5
        center = np.array([60 + 125 * column, 190 + 88 * line]) + rng.normal(0, 1, 2)
        values[:4, row] = [*center, 80, 80]
        values[4 + row // _PER_OBJECT % classes, row] = rng.uniform(0.5, 0.95)
        values[4 + classes :, row] = extra
    return np.ascontiguousarray(values[:, rng.permutation(ROWS)])[None]


def milliseconds(family: str, classes: int, outputs: Mapping[str, Float32], **options: Any) -> tuple[int, float]:
    """The number of detections, and the median CPU time of a decode."""
    tensors = tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in outputs.items())
    spec = HeadSpec("objects", family, tuple(str(i) for i in range(classes)), SIZE, tensors)
    head = registry.build("heads", family, spec, **options)
    times = []
    for _ in range(RUNS):
        start = time.thread_time()
        found = head.decode(outputs, _TRANSFORM)
        times.append(time.thread_time() - start)
    return len(found), 1e3 * float(np.median(times))


def main() -> None:
    """Print a line for each head."""
    cv2.setNumThreads(1)
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:160, 0:160]
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform(-0.1, 0.1, (_PROTOTYPES, 3))]
    masks = {
        "table": table(80, 10, rng.normal(0, 1, _PROTOTYPES).astype(np.float32)),
        "prototypes": np.stack(waves).astype(np.float32)[None],
    }
    none, angle = np.empty(0, np.float32), np.array([0.3], np.float32)
    points = np.tile(np.array([100, 100, 0.9], np.float32), _KEYPOINTS)
    for name, (count, duration) in {
        "yolo, 80 classes": milliseconds("yolo", 80, {"table": table(80, 20, none)}),
        "pose, 17 keypoints": milliseconds("pose", 1, {"table": table(1, 20, points)}),
        "obb, 15 classes": milliseconds("obb", 15, {"table": table(15, 20, angle)}),
        "instances, 80 classes": milliseconds("instances", 80, masks),
    }.items():
        print(f"{name:24} {count:3} kept  {duration:.2f} ms")


if __name__ == "__main__":
    main()
