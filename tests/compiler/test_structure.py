"""Recognizing a family by the shapes of the outputs and the last layers."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_app.compiler import input_models
from edge_app.compiler.input_models import ModelOptions
from tests.compiler.graphs import Graph
from tests.compiler.outputs import random, save
from tests.compiler.test_families import recognized

CELLS = 64 + 16 + 4
BY_SHAPE = {
    "detr": {"logits": random(1, 100, 2), "boxes": random(1, 100, 4)},
    "detr of roboflow": {"dets": random(1, 300, 4), "labels": random(1, 300, 91)},
    "yolonas": {"boxes": random(1, CELLS, 4, high=60), "scores": random(1, CELLS, 80)},
    "ppyoloe": {"boxes": random(1, CELLS, 4, high=60), "scores": random(1, 80, CELLS)},
    "pose": {
        **{f"p{s}": random(1, 64 + 1, 64 // s, 64 // s) for s in (8, 16, 32)},
        "points": random(1, 17, 3, CELLS),
    },
    "instances of 4": {
        **{f"{i}{s}": random(1, n, 64 // s, 64 // s) for s in (8, 16, 32) for i, n in enumerate((64, 7, 1, 32))},
        "prototypes": random(1, 32, 16, 16),
    },
    "instances": {
        "boxes": np.concatenate([random(1, 4, CELLS, high=60), random(1, 7 + 32, CELLS)], 1),
        "masks": random(1, 32, 16, 16),
    },
}


@pytest.mark.parametrize("kind", BY_SHAPE)
def test_recognizes_two_outputs_by_their_shapes(tmp_path, kind):
    family, _, variant = kind.partition(" of ")
    found = recognized(save(tmp_path / "a.onnx", BY_SHAPE[kind])).family
    assert found.name == family
    assert (found.preprocessing.std[0] == 255) == (variant != "roboflow")


def test_a_detr_that_scales_its_boxes_by_a_second_input_gets_the_size_of_its_image(tmp_path):
    """As the published code of RT-DETR and D-FINE exports them."""
    g = Graph(opset=17)
    boxes = g.node("Mul", g.weight(random(1, 20, 4)), g.node("Cast", g.node("Concat", "sizes", "sizes", axis=1), to=1))
    zero = g.node("Mul", g.node("ReduceMean", "image", keepdims=0), g.weight(np.float32(0)))
    outputs = {"boxes": g.node("Add", boxes, zero), "scores": g.node("Add", g.weight(random(1, 20)), zero)}
    labels = g.node("Cast", g.node("Add", g.weight(np.ones((1, 20), np.float32)), zero), to=7)
    model = g.model({"labels": labels, **outputs}, shape=("N", 3, 64, 96))
    model.graph.input.append(helper.make_tensor_value_info("sizes", TensorProto.INT64, ["N", 2]))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    next(node for node in model.graph.node if node.op_type == "Concat").input[:] = ["orig_target_sizes"] * 2
    model.graph.input[1].name = "orig_target_sizes"
    onnx.save(model, str(tmp_path / "a.onnx"))
    found = recognized(tmp_path / "a.onnx")
    assert found.family.name == "detr"
    pixels = found.run(np.zeros((64, 96, 3), np.uint8))[1]
    np.testing.assert_allclose(pixels, random(1, 20, 4) * [96, 64, 96, 64], rtol=1e-5)


@pytest.mark.parametrize("space", [0, 1])
def test_recognizes_text_recognition_by_the_characters_in_its_metadata(tmp_path, space):
    """PP-OCR: a class for each character, the blank, and perhaps the space."""
    characters = ["a", "b", " ", "\u3000", "é"]
    path = save(
        tmp_path / "line.onnx", {"y": random(1, 20, len(characters) + 1 + space)}, size=(80, 48), last="Softmax"
    )
    model = onnx.load(path)
    model.metadata_props.add(key="character", value="\n".join(characters))
    onnx.save(model, path)
    (found,) = input_models.read([path], ModelOptions())
    assert (found.family.name, found.labels) == ("ctc", tuple(characters))
    preprocessing = found.family.preprocessing
    assert (preprocessing.color, preprocessing.resize, preprocessing.pad) == ("bgr", "line", 127)


def test_recognizes_text_recognition_by_given_characters(tmp_path):
    """LPRNet: classes first, the blank last."""
    path = save(tmp_path / "plate.onnx", {"y": random(1, 5, 18)}, size=(94, 24), last="")
    (tmp_path / "keys.txt").write_text("0\n1\nA\nB\n", encoding="utf-8")
    (found,) = input_models.read([path], ModelOptions(labels=("0", "1", "A", "B")))
    assert found.family.name == "ctc"


def test_recognizes_text_detection_by_its_last_layers(tmp_path):
    """The head of DB: transposed convolutions and a sigmoid."""
    g = Graph()
    x = g.conv("image", 3, 8, stride=4)
    for outputs in (8, 1):
        x = g.node("ConvTranspose", x, g.weight(random(8, outputs, 2, 2, low=-1)), strides=[2, 2])
    g.save(tmp_path / "a.onnx", {"map": g.node("Sigmoid", x)})
    (found,) = input_models.read([tmp_path / "a.onnx"], ModelOptions())
    assert (found.family.name, found.labels) == ("dbtext", ("text",))


def test_recognizes_the_map_of_anomalib_by_its_name(tmp_path):
    path = save(tmp_path / "a.onnx", {"anomaly_map": random(1, 1, 64, 64)})
    (found,) = input_models.read([path], ModelOptions())
    assert (found.family.name, found.labels) == ("anomaly", ("anomaly",))
