"""Cutting YOLOs of poses, oriented boxes and instances: the cut graph gives what the file gives by its own rule."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.backends import TensorSpec
from edge_app.compiler import box_proof, canonical, onnx_file, tails
from edge_app.compiler.reference import Published, candidates
from edge_app.compiler.session import HostSession
from edge_app.heads import HeadSpec
from tests.compiler.yolos import OWN_ANCHORS, Yolo

KEYPOINTS, PROTOTYPES = 4, 6


def decoded(y: Yolo, family: str, version: str) -> tuple[str, dict[str, str]]:
    """The table (1, 4 + C + E, cells) of ultralytics' exporter, and further outputs."""
    g = y.graph
    extra = {"pose": 3 * KEYPOINTS, "obb": 1, "instances": PROTOTYPES}[family]
    parts = [[y.distances(s, 16), y.branch(s, y.classes), y.branch(s, extra, scale=1)] for s in y.strides]
    total = sum(y.cells(s) for s in y.strides)
    box, scores, more = (
        g.node("Concat", *(g.reshape(level[i], 1, n, -1) for level in parts), axis=2)
        for i, n in enumerate((64, y.classes, extra))
    )
    x = g.node("Transpose", g.reshape(box, 1, 4, 16, total), perm=[0, 2, 1, 3])
    weights = g.weight(np.arange(16, dtype=np.float32).reshape(1, 16, 1, 1))
    box = g.reshape(g.node("Conv", g.node("Softmax", x, axis=1), weights), 1, 4, total)
    near, far = g.node("Split", box, g.weight(np.array([2, 2])), outputs=2, axis=1)
    center, stride = g.weight(y.corners(0.5)[None]), g.weight(y.stride_row()[None])
    half = g.weight(np.float32(0.5))
    offset, size = g.node("Mul", g.node("Sub", far, near), half), g.node("Add", near, far)
    if family == "obb":
        if version != "v26":
            more = g.node(
                "Mul", g.node("Sub", g.node("Sigmoid", more), g.weight(np.float32(0.25))), g.weight(np.float32(np.pi))
            )
        (x, y_), (c, s) = g.node("Split", offset, g.weight(np.array([1, 1])), outputs=2, axis=1), (
            g.node("Cos", more), g.node("Sin", more))  # fmt: skip
        across = g.node("Sub", g.node("Mul", x, c), g.node("Mul", y_, s))
        offset = g.node("Concat", across, g.node("Add", g.node("Mul", x, s), g.node("Mul", y_, c)), axis=1)
    pixels = g.node("Mul", g.node("Concat", g.node("Add", center, offset), size, axis=1), stride)
    if family == "pose":
        points = g.reshape(more, 1, KEYPOINTS, 3, total)
        xy, seen = g.node("Split", points, g.weight(np.array([2, 1])), outputs=2, axis=2)
        if version != "v26":
            xy = g.node("Sub", g.node("Mul", xy, g.weight(np.float32(2))), half)
        xy = g.node("Mul", g.node("Add", xy, center), stride)
        more = g.reshape(g.node("Concat", xy, g.node("Sigmoid", seen), axis=2), 1, extra, total)
    outputs = {}
    if family == "instances":
        outputs["output1"] = g.node(
            "Relu",
            g.node(
                "Resize",
                g.conv(y.features[8], 8, PROTOTYPES),
                "",
                g.weight(np.array([1, 1, 2, 2], np.float32)),
                mode="nearest",
            ),
        )
    return g.node("Concat", pixels, g.node("Sigmoid", scores), more, axis=1), outputs


def v5_segmentation(y: Yolo) -> tuple[str, dict[str, str]]:
    """YOLOv5's table (1, 3 * cells, 5 + C + P), and prototypes."""
    g, columns, tables = y.graph, 5 + y.classes + PROTOTYPES, []
    for stride, row in zip(y.strides, OWN_ANCHORS):
        width, height = y.grid(stride)
        x = g.reshape(y.branch(stride, 3 * columns), 1, 3, columns, height, width)
        x = g.node("Transpose", x, perm=[0, 1, 3, 4, 2])
        sizes = g.weight(np.array([2, 2, 1 + y.classes, PROTOTYPES]))
        xy, wh, scores, masks = g.node("Split", x, sizes, outputs=4, axis=4)
        xy, wh, scores = (g.node("Sigmoid", part) for part in (xy, wh, scores))
        cell = np.stack(np.meshgrid(np.arange(width), np.arange(height)), 2)[None, None].astype(np.float32)
        xy = g.node("Add", g.node("Mul", xy, g.weight(np.float32(2))), g.weight(cell - np.float32(0.5)))
        xy = g.node("Mul", xy, g.weight(np.float32(stride)))
        wh = g.node("Pow", g.node("Mul", wh, g.weight(np.float32(2))), g.weight(np.float32(2)))
        wh = g.node("Mul", wh, g.weight(np.array(row, np.float32).reshape(1, 3, 1, 1, 2)))
        tables.append(g.reshape(g.node("Concat", xy, wh, scores, masks, axis=4), 1, -1, columns))
    scale = g.weight(np.array([1, 1, 2, 2], np.float32))
    prototypes = g.node("Resize", g.conv(y.features[8], 8, PROTOTYPES), "", scale, mode="nearest")
    return g.node("Concat", *tables, axis=1), {"output1": prototypes}


CASES = {
    "pose": ("pose", "v11", {"keypoints": (KEYPOINTS, 3)}, "points"),
    "pose of 26": ("pose", "v26", {"keypoints": (KEYPOINTS, 3)}, "points"),
    "obb": ("obb", "v11", {}, "angles"),
    "obb of 26": ("obb", "v26", {}, "angles"),
    "instances": ("instances", "", {}, "masks"),
    "instances of v5": ("instances", "v5", {}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_the_cut_graph_and_its_head_give_what_the_file_gives(tmp_path, case):
    family, version, options, extra = CASES[case]
    classes = 1 if version == "v26" or family == "pose" else 5
    y = Yolo(classes=classes)
    table, more = v5_segmentation(y) if version == "v5" else decoded(y, family, version)
    path = y.save(tmp_path / "a.onnx", {"output0": table, **more})
    net = canonical.canonicalize(onnx_file.read(path))
    cut = tails.cut(net, family, options)
    assert cut is not None
    roles = ["grid"] if version == "v5" else ["boxes", "scores", extra]
    assert cut.net.outputs == [*(f"{role}{i}" for i in range(3) for role in roles), *(["prototypes"] if more else [])]
    assert cut.options.get("version", version) == version
    if version == "v5":
        assert cut.options["anchors"] == OWN_ANCHORS
    image = np.random.default_rng(0).random((1, 3, *y.size[::-1]), dtype=np.float32)
    published, short = HostSession(net.serialize()), HostSession(cut.net.serialize())
    outputs = dict(zip(short.outputs, short.run(image)))
    settings = {**options, **cut.options}
    known = Published(family, settings, y.size, classes)
    found = candidates(known, dict(zip(published.outputs, published.run(image))))
    assert found is not None
    tensors = tuple(TensorSpec(name, array.shape, "float32") for name, array in outputs.items())
    spec = HeadSpec("a", family, tuple(str(i) for i in range(classes)), y.size, tensors)
    proof = box_proof.prove(spec, settings, [outputs], [(found, found)])
    assert proof.matched == proof.compared > 50
    assert (proof.masks > 0) == (family == "instances")


def test_a_tail_that_decodes_keypoints_in_another_way_is_left(tmp_path):
    y = Yolo(classes=1)
    table, _ = decoded(y, "pose", "v11")
    scaled = y.graph.node("Mul", table, y.graph.weight(np.float32(1.5)))
    net = canonical.canonicalize(onnx_file.read(y.save(tmp_path / "a.onnx", {"output0": scaled})))
    assert tails.cut(net, "pose", {"keypoints": (KEYPOINTS, 3)}) is None
