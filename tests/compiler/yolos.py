"""Small YOLO graphs with the tails of the published exporters, on a common trunk of random weights.

Every `Yolo` knows the published rule: plain loops over the outputs, independent of the product's decoders.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tests.compiler.graphs import Graph
from tests.heads.plain import Candidate, centered_box, highest, sigmoid

OWN_ANCHORS = ((12, 16, 19, 36, 40, 28), (36, 75, 76, 55, 72, 146), (142, 110, 192, 243, 459, 401))
FASTEST_ANCHORS = ((12.64, 19.39, 37.88, 51.48, 55.71, 138.31), (126.91, 78.23, 131.57, 214.55, 279.92, 258.87))


@dataclass
class Yolo:
    """A graph that is being written. size: width and height of the input."""

    classes: int = 5
    size: tuple[int, int] = (96, 64)
    strides: tuple[int, ...] = (8, 16, 32)
    graph: Graph = field(default_factory=Graph)

    def __post_init__(self):
        x, channels = "image", 3
        self.features = {}
        for stride in (2, 4, 8, 16, 32, 64):
            x = self.graph.relu(self.graph.conv(x, channels, 8, stride=2))
            channels = 8
            if stride in self.strides:
                self.features[stride] = x

    def grid(self, stride: int) -> tuple[int, int]:
        return -(-self.size[0] // stride), -(-self.size[1] // stride)

    def cells(self, stride: int) -> int:
        width, height = self.grid(stride)
        return width * height

    def branch(self, stride: int, channels: int, scale: float = 6, bias: float = 0) -> str:
        """A convolution whose outputs vary by several units, so that some scores are high."""
        g = self.graph
        x = g.relu(g.conv(self.features[stride], 8, 8))
        x = g.conv(x, 8, channels, 1)
        g.weights[g.nodes[-1].input[1]] *= scale
        g.weights[g.nodes[-1].input[2]] += np.float32(bias)
        return x

    def distances(self, stride: int, bins: int) -> str:
        """The branch of the boxes of v6, v8 and 26: bins of distances, or the distances, which are mostly positive."""
        return self.branch(stride, 4 * bins) if bins > 1 else self.branch(stride, 4, scale=0.5, bias=2)

    def corners(self, offset: float) -> np.ndarray:
        """(2, cells): reference points of all cells, in cells."""
        parts = []
        for stride in self.strides:
            width, height = self.grid(stride)
            x, y = np.meshgrid(np.arange(width) + offset, np.arange(height) + offset)
            parts.append(np.stack([x.ravel(), y.ravel()]))
        return np.concatenate(parts, 1).astype(np.float32)

    def stride_row(self) -> np.ndarray:
        return np.concatenate([np.full(self.cells(s), s, np.float32) for s in self.strides])

    def save(self, path: Path, outputs: dict[str, str]) -> Path:
        return self.graph.save(path, outputs, shape=(1, 3, self.size[1], self.size[0]))


def ultralytics(
    path: Path, *, joined: bool = False, bins: int = 16, end2end: bool = False, keypoints: int = 0, **options
) -> Path:
    """v8 to v12, and 26 with bins=1. joined: as before release 8.4. keypoints: values of a third branch, of poses."""
    y = Yolo(**options)
    g, total = y.graph, sum(y.cells(s) for s in y.strides)
    boxes = [y.distances(s, bins) for s in y.strides]
    scores, more = ([y.branch(s, n) for s in y.strides] for n in (y.classes, max(keypoints, 1)))
    if joined:
        parts = [g.reshape(g.node("Concat", b, c, axis=1), 1, 4 * bins + y.classes, -1) for b, c in zip(boxes, scores)]
        both = g.node("Concat", *parts, axis=2)
        box, score = g.node("Split", both, g.weight(np.array([4 * bins, y.classes])), outputs=2, axis=1)
    else:
        box = g.node("Concat", *(g.reshape(b, 1, 4 * bins, -1) for b in boxes), axis=2)
        score = g.node("Concat", *(g.reshape(c, 1, y.classes, -1) for c in scores), axis=2)
    if bins > 1:
        x = g.node("Transpose", g.reshape(box, 1, 4, bins, total), perm=[0, 2, 1, 3])
        weights = g.weight(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1))
        box = g.reshape(g.node("Conv", g.node("Softmax", x, axis=1), weights), 1, 4, total)
    near, far = g.node("Split", box, g.weight(np.array([2, 2])), outputs=2, axis=1)
    center = g.weight(y.corners(0.5)[None])
    low, high = g.node("Sub", center, near), g.node("Add", center, far)
    if end2end:
        corners = g.node("Concat", low, high, axis=1)
    else:
        middle = g.node("Div", g.node("Add", low, high), g.weight(np.float32(2)))
        corners = g.node("Concat", middle, g.node("Sub", high, low), axis=1)
    pixels = g.node("Mul", corners, g.weight(y.stride_row()[None]))
    table = g.node("Concat", pixels, g.node("Sigmoid", score), axis=1)
    if keypoints:
        table = g.node(
            "Concat", table, *(g.node("Concat", *(g.reshape(m, 1, keypoints, -1) for m in more), axis=2),), axis=1
        )
    return y.save(path, {"output0": _top(y, table) if end2end else table})


def _top(y: Yolo, table: str, most: int = 60) -> str:
    """The end of v10 and 26: the best cells, then the best pairs of cell and class. table: (1, 4 + C, cells)."""
    g, classes = y.graph, y.classes
    rows = g.node("Transpose", table, perm=[0, 2, 1])
    boxes, scores = g.node("Split", rows, g.weight(np.array([4, classes])), outputs=2, axis=2)
    count, last = g.weight(np.array([most])), g.weight(np.array([2]))
    _, cell = g.node("TopK", g.node("ReduceMax", scores, axes=[2], keepdims=0), count, outputs=2, axis=1)
    cell = g.node("Unsqueeze", cell, last)
    best = g.node("GatherElements", scores, g.node("Expand", cell, g.weight(np.array([1, 1, classes]))), axis=1)
    score, pair = g.node("TopK", g.reshape(best, 1, -1), count, outputs=2, axis=1)
    row, label = (g.node(op, pair, g.weight(np.array(classes))) for op in ("Div", "Mod"))
    chosen = g.node("GatherElements", g.node("Squeeze", cell, last), row, axis=1)
    chosen = g.node("Expand", g.node("Unsqueeze", chosen, last), g.weight(np.array([1, 1, 4])))
    ends = [g.node("Unsqueeze", x, last) for x in (score, g.node("Cast", label, to=1))]
    return g.node("Concat", g.node("GatherElements", boxes, chosen, axis=1), *ends, axis=2)


def yolov5(path: Path, *, anchors=OWN_ANCHORS, grids: bool = False, **options) -> Path:
    """v5 and v7. grids: the maps of training as further outputs, as releases before 6.2 write them."""
    y = Yolo(**options)
    g, columns = y.graph, 5 + y.classes
    tables, maps = [], {}
    for stride, row in zip(y.strides, anchors):
        width, height = y.grid(stride)
        count = len(row) // 2
        x = g.reshape(y.branch(stride, count * columns), 1, count, columns, height, width)
        x = g.node("Transpose", x, perm=[0, 1, 3, 4, 2])
        maps[f"grid{stride}"] = x
        xy, wh, rest = g.node("Split", g.node("Sigmoid", x), g.weight(np.array([2, 2, columns - 4])), outputs=3, axis=4)
        cell = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2)[None, None].astype(np.float32)
        xy = g.node("Add", g.node("Mul", xy, g.weight(np.float32(2))), g.weight(cell - np.float32(0.5)))
        xy = g.node("Mul", xy, g.weight(np.float32(stride)))
        wh = g.node("Pow", g.node("Mul", wh, g.weight(np.float32(2))), g.weight(np.float32(2)))
        wh = g.node("Mul", wh, g.weight(np.array(row, np.float32).reshape(1, count, 1, 1, 2)))
        tables.append(g.reshape(g.node("Concat", xy, wh, rest, axis=4), 1, -1, columns))
    return y.save(path, {"output": g.node("Concat", *tables, axis=1), **(maps if grids else {})})


def yolov6(path: Path, *, bins: int = 1, **options) -> Path:
    """v6: bins 1 for its small models, 17 for its large ones; an objectness of 1."""
    y = Yolo(**options)
    g, distances, scores = y.graph, [], []
    for stride in y.strides:
        cells = y.cells(stride)
        box = y.distances(stride, bins)
        if bins > 1:
            x = g.node("Transpose", g.reshape(box, -1, 4, bins, cells), perm=[0, 2, 1, 3])
            weights = g.weight(np.arange(bins, dtype=np.float32).reshape(1, bins, 1, 1))
            box = g.node("Conv", g.node("Softmax", x, axis=1), weights)
        distances.append(g.reshape(box, -1, 4, cells))
        scores.append(g.reshape(g.node("Sigmoid", y.branch(stride, y.classes)), -1, y.classes, cells))
    box = g.node("Transpose", g.node("Concat", *distances, axis=2), perm=[0, 2, 1])
    score = g.node("Transpose", g.node("Concat", *scores, axis=2), perm=[0, 2, 1])
    near, far = g.node("Split", box, g.weight(np.array([2, 2])), outputs=2, axis=2)
    center = g.weight(y.corners(0.5).T[None])
    low, high = g.node("Sub", center, near), g.node("Add", center, far)
    middle = g.node("Div", g.node("Add", low, high), g.weight(np.float32(2)))
    pixels = g.node("Concat", middle, g.node("Sub", high, low), axis=2)
    pixels = g.node("Mul", pixels, g.weight(y.stride_row()[None, :, None]))
    ones = g.weight(np.ones((1, sum(y.cells(s) for s in y.strides), 1), np.float32))
    return y.save(path, {"outputs": g.node("Concat", pixels, ones, score, axis=2)})


def yolox(path: Path, *, decoded: bool = False, logits: bool = False, grids: bool = False, **options) -> Path:
    """X, one row a cell. logits: without the sigmoid. grids: one map a stride, as in rknn_model_zoo."""
    y = Yolo(**options)
    g, maps = y.graph, []
    for stride in y.strides:
        box, objectness, scores = (y.branch(stride, n) for n in (4, 1, y.classes))
        g.weights[g.nodes[-1].input[1]] *= 2
        ends = [x if logits else g.node("Sigmoid", x) for x in (objectness, scores)]
        maps.append(g.node("Concat", box, *ends, axis=1))
    if grids:
        return y.save(path, {f"map{s}": x for s, x in zip(y.strides, maps)})
    rows = g.node("Concat", *(g.reshape(x, 1, 5 + y.classes, -1) for x in maps), axis=2)
    rows = g.node("Transpose", rows, perm=[0, 2, 1])
    if decoded:
        stride = g.weight(y.stride_row()[None, :, None])
        xy, wh, rest = g.node("Split", rows, g.weight(np.array([2, 2, 1 + y.classes])), outputs=3, axis=2)
        xy = g.node("Mul", g.node("Add", xy, g.weight(y.corners(0).T[None])), stride)
        rows = g.node("Concat", xy, g.node("Mul", g.node("Exp", wh), stride), rest, axis=2)
    return y.save(path, {"output": rows})


def fastestv2(path: Path, *, grids: bool = False, first: bool = False, logits: bool = False, **options) -> Path:
    """YOLO-FastestV2: one table without a batch, as hpc203 publishes it, or one map (1, h, w, 15 + C) a stride.

    first: maps (1, 15 + C, h, w). logits: without the sigmoids and the softmax.
    """
    y = Yolo(strides=(16, 32), **options)
    g, outputs = y.graph, {}
    for stride in y.strides:
        box, objectness, scores = (y.branch(stride, n) for n in (12, 3, y.classes))
        ends = [g.node("Sigmoid", box), g.node("Sigmoid", objectness), g.node("Softmax", scores, axis=1)]
        joined = g.node("Concat", *([box, objectness, scores] if logits else ends), axis=1)
        outputs[f"map{stride}"] = joined if first else g.node("Transpose", joined, perm=[0, 2, 3, 1])
    if grids or first:
        return y.save(path, outputs)
    rows = [g.reshape(x, -1, 15 + y.classes) for x in outputs.values()]
    return y.save(path, {"845": g.node("Concat", *rows, axis=0)})


def rows_of(output: np.ndarray) -> list[list[float]]:
    return output.reshape(-1, output.shape[-1]).astype(float).tolist()


def plain_ultralytics(outputs: list[np.ndarray]) -> list[Candidate]:
    """The published rule of (1, 4 + C, cells)."""
    rows = outputs[0][0].T.astype(float).tolist()
    return [(centered_box(*row[:4]), *highest(row[4:])) for row in rows]


def plain_end2end(outputs: list[np.ndarray]) -> list[Candidate]:
    return [((x1, y1, x2, y2), score, int(label)) for x1, y1, x2, y2, score, label in rows_of(outputs[0])]


def plain_objectness(outputs: list[np.ndarray]) -> list[Candidate]:
    """The published rule of v5, v6, v7 and decoded X: rows of x, y, w, h, objectness and classes."""
    found = []
    for x, y, w, h, objectness, *classes in rows_of(outputs[0]):
        chance, label = highest(classes)
        found.append((centered_box(x, y, w, h), objectness * chance, label))
    return found


def plain_yolox(outputs: list[np.ndarray], yolo: Yolo, logits: bool = False) -> list[Candidate]:
    if len(outputs) > 1:
        outputs = [np.concatenate([a[0].reshape(a.shape[1], -1).T for a in outputs])[None]]
    found, corners, strides = [], yolo.corners(0), yolo.stride_row()
    for i, (x, y, w, h, objectness, *classes) in enumerate(rows_of(outputs[0])):
        chance, label = highest(classes)
        squash = sigmoid if logits else float
        (cx, cy), s = corners[:, i].tolist(), float(strides[i])
        box = centered_box((cx + x) * s, (cy + y) * s, math.exp(w) * s, math.exp(h) * s)
        found.append((box, squash(objectness) * squash(chance), label))
    return found


def plain_fastestv2(outputs: list[np.ndarray], yolo: Yolo) -> list[Candidate]:
    """The published rule: sample/ncnn/src/yolo-fastestv2.cpp."""
    found, corners, strides = [], yolo.corners(0), yolo.stride_row()
    if len(outputs) > 1 and outputs[0].shape[1] == 15 + yolo.classes:  # channels first
        outputs = [output.transpose(0, 2, 3, 1) for output in outputs]
    for i, values in enumerate(row for output in outputs for row in rows_of(output)):
        row = values
        if min(values[12:15]) < 0:  # logits
            powers = [math.exp(value) for value in values[15:]]
            row = [*(sigmoid(value) for value in values[:15]), *(power / sum(powers) for power in powers)]
        (cx, cy), s = corners[:, i].tolist(), float(strides[i])
        chance, label = highest(row[15:])
        for a in range(3):
            x, y, w, h = row[4 * a : 4 * a + 4]
            anchor_w, anchor_h = FASTEST_ANCHORS[yolo.strides.index(int(s))][2 * a : 2 * a + 2]
            box = centered_box(
                (2 * x - 0.5 + cx) * s, (2 * y - 0.5 + cy) * s, (2 * w) ** 2 * anchor_w, (2 * h) ** 2 * anchor_h
            )
            found.append((box, row[12 + a] * chance, label))
    return found
