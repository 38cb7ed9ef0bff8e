"""Input that `edge-app compile` rejects: one line, exit 2, and nothing written, not even the folders above --out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_app import cli
from tests.compiler import yolos
from tests.compiler.graphs import Graph, classifier, segmenter


@pytest.fixture
def rejected(tmp_path, capsys):
    """`rejected(MODEL, …)` compiles and returns the line on stderr."""

    def compile_(*arguments) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        out = tmp_path / "models" / "new" / "m"
        assert cli.main(["compile", *(str(a) for a in arguments), "--out", str(out)]) == 2
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        captured = capsys.readouterr()
        assert captured.out == ""
        steps, _, line = captured.err.strip().rpartition("\n")
        assert "Traceback" not in captured.err
        assert ": " in line
        assert not [step for step in steps.splitlines() if ": " in step], captured.err
        return line

    return compile_


def edited(path, change) -> object:
    model = onnx.load(path)
    change(model)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("family", ["yolo", "segment", "fastestdet", "ultraface", "nanodet", "yunet", "digits"])
def test_a_classifier_for_another_task(rejected, tmp_path, family):
    assert "a: " in rejected(classifier(tmp_path / "a.onnx"), "--family", family)


@pytest.mark.parametrize("family", ["classify", "embed", "yolo", "ultraface"])
def test_a_segmentation_for_another_task(rejected, tmp_path, family):
    assert "a: " in rejected(segmenter(tmp_path / "a.onnx"), "--family", family)


@pytest.mark.parametrize("family", ["classify", "embed", "ultraface", "nanodet", "fastestdet"])
def test_a_detector_for_another_task(rejected, tmp_path, family):
    assert "a: " in rejected(yolos.ultralytics(tmp_path / "a.onnx"), "--family", family)


@pytest.mark.parametrize("count", [1, 4, 6, 80])
def test_labels_of_the_wrong_number(rejected, tmp_path, count):
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"label{i}\n" for i in range(count)))
    for make in (classifier, yolos.ultralytics):
        assert f"{count} labels" in rejected(make(tmp_path / "a.onnx"), "--labels", labels)
    if count == 80:
        assert "80 labels" in rejected(tmp_path / "a.onnx", "--labels", "coco80")


def test_two_image_inputs(rejected, tmp_path):
    def add_input(model):
        other = helper.make_tensor_value_info("other", TensorProto.FLOAT, [1, 3, 64, 64])
        model.graph.input.append(other)
        model.graph.node.append(helper.make_node("Shape", ["other"], ["other_shape"]))
        model.graph.output.append(helper.make_tensor_value_info("other_shape", TensorProto.INT64, [4]))

    line = rejected(edited(classifier(tmp_path / "a.onnx"), add_input))
    assert "image, other" in line
    assert "expected one image" in line


def test_names_in_messages_stay_on_one_line(rejected, tmp_path):
    g = Graph()
    model = g.model({"y": g.relu("im\nage")}, shape=(1, 1, 64, 64), image="im\nage")
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    assert "input 'im age' is float32" in rejected(tmp_path / "a.onnx")


def test_a_custom_domain(rejected, tmp_path):
    def rename(model):
        model.graph.node[2].domain = "com.example"
        model.graph.node[2].op_type = "OwnRelu"
        model.opset_import.append(helper.make_opsetid("com.example", 1))

    line = rejected(edited(classifier(tmp_path / "a.onnx"), rename))
    assert "OwnRelu" in line
    assert "com.example" in line


@pytest.mark.parametrize("size", [0, 100, None])
def test_truncated_external_data(rejected, tmp_path, size):
    """size: of the file, bytes; None removes it."""
    path = classifier(tmp_path / "a.onnx")
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="a.data", size_threshold=0)
    data = tmp_path / "a.data"
    assert data.stat().st_size > 100
    if size is None:
        data.unlink()
    else:
        data.write_bytes(data.read_bytes()[:size])
    assert "a.data" in rejected(path)


@pytest.mark.parametrize("version", [1, 6, 99])
def test_an_opset_that_is_too_old_or_too_new(rejected, tmp_path, version):
    def set_opset(model):
        model.opset_import[0].version = version

    assert f"opset {version}" in rejected(edited(classifier(tmp_path / "a.onnx"), set_opset))


def test_outputs_that_differ_from_the_published_file(rejected, tmp_path):
    """A random operator: two runs of the file differ, and so does what is compiled."""
    g = Graph()
    noise = g.node("RandomNormalLike", g.conv("image", 3, 8, stride=8))
    pooled = g.node("Flatten", g.node("GlobalAveragePool", noise), axis=1)
    line = rejected(g.save(tmp_path / "a.onnx", {"scores": pooled}))
    assert "a: " in line


def test_weights_that_are_not_finite(rejected, tmp_path):
    g = Graph()
    x = g.conv("image", 3, 8, stride=8)
    g.weights[g.nodes[-1].input[1]][:] = np.nan
    line = rejected(g.save(tmp_path / "a.onnx", {"scores": g.node("Flatten", g.node("GlobalAveragePool", x), axis=1)}))
    assert "a: " in line


def test_landmarks_that_are_no_numbers(rejected, tmp_path):
    def change(model):
        helper.set_model_props(model, {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[2, 3]"})
        wide = [weight for weight in model.graph.initializer if list(weight.dims) == [6]]  # the bias of the keypoints
        wide[0].CopyFrom(numpy_helper.from_array(np.full(6, np.nan, np.float32), wide[0].name))

    path = yolos.ultralytics(tmp_path / "a.onnx", classes=1, keypoints=6)
    assert rejected(edited(path, change)) == (
        "a: the published file gives values that are no numbers; expected finite ones"
    )
