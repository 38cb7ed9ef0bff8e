"""Non-maximum suppression in a graph: cut off where the tail before it can be traced, else rejected by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_app import registry
from edge_app.compiler import assemble, calibration_images, input_models, proof, suppression
from edge_app.compiler.assemble import Runner
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.proof import written_options
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.model.schema import Input
from tests.compiler import outputs, yolos

LABELS = ("a", "b", "c", "d", "e")
SCORE, IOU = 0.2, 0.5
_CORNERS = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [-0.5, 0, 0.5, 0], [0, -0.5, 0, 0.5]], np.float32)


class Ending:
    """Appends nodes to a published graph."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.model = onnx.load(path)
        self.table = self.model.graph.output[0].name
        del self.model.graph.output[:]

    def weight(self, values) -> str:
        name = f"end_w{len(self.model.graph.initializer)}"
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes):
        names = [f"end{len(self.model.graph.node)}_{i}" for i in range(outputs)]
        self.model.graph.node.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def part(self, x: str, low: int, high: int, axis: int = 2) -> str:
        return self.node("Slice", x, *(self.weight(np.array([n])) for n in (low, high, axis)))

    def save(self, *tensors: str, kind: int = TensorProto.FLOAT) -> Path:
        for name in tensors:
            self.model.graph.output.append(helper.make_tensor_value_info(name, kind, None))
        onnx.save(self.model, self.path)
        return self.path


def boxes_and_scores(end: Ending, form: str) -> tuple[str, str]:
    """Corners (1, N, 4) and scores (1, N, C) of a table: of v5's form, or of v8's with or without corners."""
    rows = end.table
    if form == "v5":  # as in YOLOv7's end2end
        scores = end.node("Mul", end.part(rows, 5, 99), end.part(rows, 4, 5))
        return end.node("MatMul", end.part(rows, 0, 4), end.weight(_CORNERS)), scores
    rows = end.node("Transpose", rows, perm=[0, 2, 1])
    corners = end.node("MatMul", end.part(rows, 0, 4), end.weight(_CORNERS))
    if form == "corners":  # as ultralytics writes them for its own suppression
        rows = end.node("Concat", corners, end.part(rows, 4, 99), axis=2)
        return end.part(rows, 0, 4), end.part(rows, 4, 99)
    return corners, end.part(rows, 4, 99)


def selecting(path: Path, form: str) -> Path:
    """Append NonMaxSuppression of the best class of each box; rows of x1, y1, x2, y2, score, class."""
    end = Ending(path)
    boxes, scores = boxes_and_scores(end, form)
    best = end.node("Equal", scores, end.node("ReduceMax", scores, axes=[2]))
    scores = end.node("Where", best, scores, end.weight(np.float32(0)))
    by_class = end.node("Transpose", scores, perm=[0, 2, 1])
    limits = (np.array([200]), np.float32([IOU]), np.float32([SCORE]))
    chosen = end.node("NonMaxSuppression", boxes, by_class, *(end.weight(n) for n in limits))
    image, label, cell = end.node("Split", chosen, end.weight(np.array([1, 1, 1])), outputs=3, axis=1)
    box = end.node("GatherND", boxes, end.node("Concat", image, cell, axis=1))
    score = end.node("GatherND", by_class, chosen)
    score = end.node("Unsqueeze", score, end.weight(np.array([1])))
    return end.save(end.node("Concat", box, score, end.node("Cast", label, to=1), axis=1))


def with_plugin(path: Path, form: str, **attributes) -> Path:
    end = Ending(path)
    boxes, scores = boxes_and_scores(end, form)
    settings = {"score_threshold": SCORE, "iou_threshold": IOU, "max_output_boxes": 100, **attributes}
    end.model.opset_import.append(helper.make_opsetid("TRT", 1))
    found = end.node("EfficientNMS_TRT", boxes, scores, outputs=4, domain="TRT", **settings)
    return end.save(*found)


def exported(path: Path, form: str) -> Path:
    return yolos.yolov5(path) if form == "v5" else yolos.ultralytics(path)


@pytest.mark.parametrize("form", ["v5", "v8", "corners"])
def test_the_head_gives_the_boxes_that_the_file_selects(tmp_path, form):
    path = selecting(exported(tmp_path / "a.onnx", form), form)
    (model,) = input_models.read([path], ModelOptions(labels=LABELS))
    assert (model.options["score"], model.options["nms_iou"]) == (SCORE, IOU)
    assert model.assumed[-1] == (
        f"the non-maximum suppression by the head instead of the graph (score {SCORE}, nms_iou {IOU})"
    )
    assembly = assemble.assemble([model], None, (4, 8, 16))
    width, height = yolos.Yolo().size
    images = calibration_images.synthetic(Input(width, height), 2)
    proved = proof.prove([model], Runner.of(assembly), images, images.held_out)["a"]
    assert proved.boxes.matched == proved.boxes.compared >= 50
    file, compared = HostSession(path.read_bytes()), 0
    for pixels in images.pixels:
        (rows,) = file.run(model.prepared(pixels))
        found = Runner.of(assembly).run(pixels)["a"]
        specs = proof._spec(model, found)
        head = registry.build("heads", "yolo", specs, **{**written_options(model), "max_detections": 1000})
        boxes = head.decode(found, fit((width, height), (width, height), "stretch"))
        inside = np.clip(rows[:, :4], 0, np.tile((width, height), 2))
        assert abs(len(boxes) - len(rows)) <= 2
        for row, corners in zip(rows, inside):
            near = np.abs(boxes.xyxy - corners).max(axis=1) < 0.1
            compared += bool((near & (boxes.class_id == row[5]) & (np.abs(boxes.score - row[4]) < 1e-3)).any())
    assert compared >= 20


@pytest.mark.parametrize("form", ["v5", "v8"])
def test_the_plugin_of_tensorrt_is_cut_off(tmp_path, form):
    path = with_plugin(exported(tmp_path / "a.onnx", form), form)
    (model,) = input_models.read([path], ModelOptions(labels=LABELS))
    assert model.cut is not None
    assert (model.options["score"], model.options["nms_iou"]) == (SCORE, IOU)
    assert "class_aware" not in model.options
    path = with_plugin(exported(tmp_path / "a.onnx", form), form, class_agnostic=1)
    (model,) = input_models.read([path], ModelOptions(labels=LABELS))
    assert model.options["class_aware"] is False


@pytest.mark.parametrize("moved", [True, False])
def test_boxes_that_are_not_moved_apart_by_class_suppress_each_other(tmp_path, moved):
    """As ultralytics writes them, without and with `agnostic_nms`."""
    end = Ending(yolos.ultralytics(tmp_path / "a.onnx"))
    boxes, scores = boxes_and_scores(end, "v8")
    best = end.node("ReduceMax", scores, axes=[2])
    if moved:
        label = end.node("Cast", end.node("ArgMax", scores, axis=2), to=1)
        boxes = end.node("Add", boxes, end.node("Mul", label, end.weight(np.float32(1000))))
    limits = (np.array([200]), np.float32([IOU]))
    by_class = end.node("Transpose", best, perm=[0, 2, 1])
    chosen = end.node("NonMaxSuppression", boxes, by_class, *(end.weight(n) for n in limits))
    path = end.save(end.node("Cast", chosen, to=1))
    (model,) = input_models.read([path], ModelOptions(labels=LABELS))
    assert model.options["nms_iou"] == IOU
    assert model.options.get("class_aware", True) is moved
    assert moved or model.assumed[-1].endswith(f"(nms_iou {IOU}, class_aware false)")


def test_suppression_of_a_table_that_no_tail_explains_is_rejected_by_name(tmp_path):
    count = outputs.cells(64, 8, 16, 32)
    for ending in (selecting, with_plugin):
        path = outputs.save(tmp_path / "a.onnx", {"y": outputs.random(1, 9, count)})
        with pytest.raises(ModelError, match=r"^a: non-maximum suppression in the graph .*: not supported") as raised:
            input_models.read([ending(path, "v8")], ModelOptions())
        assert "\n" not in str(raised.value)


def test_thresholds_that_mean_nothing_are_left_to_the_head(tmp_path):
    end = Ending(yolos.ultralytics(tmp_path / "a.onnx"))
    boxes, scores = boxes_and_scores(end, "v8")
    chosen = end.node("NonMaxSuppression", boxes, end.node("Transpose", scores, perm=[0, 2, 1]))
    end.save(end.node("Cast", chosen, to=1))
    (model,) = input_models.read([end.path], ModelOptions(labels=LABELS))
    assert "score" not in model.options
    assert suppression._options(score=-1.0, iou=0.6) == {"nms_iou": 0.6}


def test_an_end_to_end_file_is_cut_as_before(tmp_path):
    (model,) = input_models.read([yolos.ultralytics(tmp_path / "a.onnx", end2end=True)], ModelOptions(labels=LABELS))
    assert model.options["version"] == "v10"
    assert not any("suppression" in text for text in model.assumed)
