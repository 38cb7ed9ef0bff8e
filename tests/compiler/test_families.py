"""Recognizing the model family, and the errors if there is none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_app.compiler import families, input_models
from edge_app.compiler.input_models import ModelOptions
from edge_app.errors import ConfigError, ModelError
from tests.compiler.graphs import Graph, classifier, segmenter
from tests.compiler.yolos import ultralytics


def recognized(path, **given) -> input_models.InputModel:
    (found,) = input_models.read([path], ModelOptions(**given))
    return found


@pytest.mark.parametrize(("file", "family", "outputs", "labels"), [
    ("FastestDet.onnx", "fastestdet", ["objectness", "boxes", "classes"], "coco80"),
    ("nanodet_m.onnx", "nanodet", ["792", "814", "836", "795", "817", "839"], "coco80"),
    ("version-RFB-320.onnx", "ultraface", ["logits", "deltas"], ("face",)),
])  # fmt: skip
def test_recognizes_public_models(data, file, family, outputs, labels):
    found = recognized(data / file)
    assert (found.family.name, found.net.outputs, found.labels) == (family, outputs, labels)
    assert found.family.why
    assert any(text.startswith("mean") for text in found.assumed)


def test_distinguishes_classifiers_and_segmenters(tmp_path):
    assert recognized(classifier(tmp_path / "a.onnx")).family.name == "classify"
    assert recognized(segmenter(tmp_path / "b.onnx")).family.name == "segment"


def test_recognizes_an_embedding_by_its_final_normalization(tmp_path):
    g = Graph()
    x = g.node("Flatten", g.node("GlobalAveragePool", g.conv("image", 3, 8)), axis=1)
    length = g.node("ReduceL2", x, axes=[1], keepdims=1)
    g.save(tmp_path / "a.onnx", {"vector": g.node("Div", x, length)})
    assert recognized(tmp_path / "a.onnx").family.name == "embed"


def test_cuts_a_yolo_at_its_grids(tmp_path):
    found = recognized(ultralytics(tmp_path / "a.onnx", classes=80))
    assert found.family.name == "yolo"
    assert found.net.outputs == ["boxes0", "scores0", "boxes1", "scores1", "boxes2", "scores2"]
    assert found.preprocessing.color == "rgb"


def test_options_override_the_family(tmp_path):
    found = recognized(classifier(tmp_path / "a.onnx"), family="embed", mean=(1, 2, 3), color="bgr")
    assert (found.family.name, found.family.why) == ("embed", "given by --family")
    assert (found.preprocessing.mean, found.preprocessing.color) == ((1, 2, 3), "bgr")
    assert not any(text.startswith(("mean", "color")) for text in found.assumed)


def test_rejects_outputs_that_no_family_can_decode(tmp_path):
    g = Graph()
    g.save(tmp_path / "a.onnx", {f"o{i}": g.conv("image", 3, 5 + i) for i in range(5)})
    with pytest.raises(ModelError, match=r"a: no known family has the outputs o0 .*--family"):
        recognized(tmp_path / "a.onnx")


def test_rejects_a_given_family_that_cannot_decode_the_outputs(tmp_path):
    with pytest.raises(ModelError, match="family 'yunet' cannot decode"):
        recognized(classifier(tmp_path / "a.onnx"), family="yunet")
    with pytest.raises(ConfigError, match="--family: found 'yollo'; expected one of"):
        recognized(classifier(tmp_path / "a.onnx"), family="yollo")


def test_uses_the_declared_shape_of_an_output_until_it_can_be_inferred(tmp_path):
    g = Graph()
    x = g.node("GlobalAveragePool", g.conv("image", 3, 8, stride=2))
    shape = g.node("Cast", g.node("Shape", x), to=TensorProto.INT32)
    ints = [g.weight(np.array([n], np.int32)) for n in (0, 1)]
    batch = g.node("Cast", g.node("Slice", shape, *ints), to=TensorProto.INT64)
    x = g.node("Reshape", x, g.node("Concat", batch, g.weight(np.array([8])), axis=0))
    y = g.node("Softmax", g.node("MatMul", x, g.weight(g.rng.normal(size=(8, 5)).astype(np.float32))), axis=-1)
    model = g.model({"y": y}, shape=("n", 3, "h", "w"))
    del model.graph.value_info[:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5]))
    onnx.save(model, tmp_path / "a.onnx")
    found = recognized(tmp_path / "a.onnx", input_size=(64, 32))
    assert found.family.name == "classify"
    assert found.net.shapes()[found.net.outputs[0]] == (1, 5)


def test_a_free_input_size_needs_the_input_option(tmp_path):
    g = Graph()
    g.save(tmp_path / "a.onnx", {"y": g.conv("image", 3, 4)}, shape=(1, 3, "h", "w"))
    with pytest.raises(ModelError, match=r"a\.onnx: input 'image' .* has free sizes; expected --input WxH"):
        recognized(tmp_path / "a.onnx")
    assert recognized(tmp_path / "a.onnx", input_size=(48, 32)).net.inputs[0].shape == (1, 3, 32, 48)


def test_accepts_nhwc_input(tmp_path):
    g = Graph()
    planes = g.node("Transpose", "image", perm=[0, 3, 1, 2])
    g.save(tmp_path / "a.onnx", {"y": g.conv(planes, 3, 4)}, shape=(1, 32, 48, 3))
    found = recognized(tmp_path / "a.onnx")
    assert found.net.inputs[0].shape == (1, 3, 32, 48)
    assert [node.op for node in found.net.nodes] == ["Conv"]


def test_cutting_a_tail_sets_the_options_of_the_decoder(data):
    assert recognized(data / "version-RFB-320.onnx").options == {"boxes": "deltas"}
    spec = families.head_spec(recognized(data / "version-RFB-320.onnx").net, "faces", "ultraface", ("face",))
    assert spec.input_size == (320, 240)
