"""Second-stage heads: which crops they run on, their results, and how these are published."""

from __future__ import annotations

import json
import shutil
from contextlib import closing

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_app import config
from edge_app.backends.onnx import Backend, Session
from edge_app.config import HeadCommon, HeadConfig
from edge_app.errors import ConfigError, ModelError
from edge_app.frame import Crops, Frame
from edge_app.inference.stage import Inference
from edge_app.messages import Encoder
from edge_app.model import manifest
from tests.conftest import PROJECT
from tests.schema import strict

COLORS = ("red", "green", "blue")
HEAD = """\
  color:
    family: classify
    labels: [red, green, blue]
    graph: {onnx: color.onnx}
    crops: {of: digits, limit: 3, input: {width: 16, height: 16, resize: stretch, std: [1, 1, 1]}}
"""


def write_color_model(path, batch=1, fixed=False):
    """A graph that returns the mean of each channel: the dominant color of a crop. fixed: whatever `batch` says."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, 16, 16])
    score = helper.make_tensor_value_info("score", TensorProto.FLOAT, [batch, 3])
    nodes = [helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0)]
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [1 if fixed else -1, 3])
    nodes.append(helper.make_node("Reshape", ["mean", "shape"], ["score"]))
    model = helper.make_model(
        helper.make_graph(nodes, "color", [image], [score], [shape]), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    onnx.save(model, str(path))


@pytest.fixture
def folder(tmp_path):
    """The shipped model with a second-stage head that classifies the color of each digit."""
    folder = tmp_path / "model"
    shutil.copytree(PROJECT / "models/digits", folder, ignore=shutil.ignore_patterns("sample*", "golden*"))
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    text = text[: text.index("\nsha256:")] if "\nsha256:" in text else text
    (folder / "model.yaml").write_text(text.rstrip() + "\n" + HEAD, encoding="utf-8")
    write_color_model(folder / "color.onnx")
    return folder


def opened(folder, **common):
    loaded = manifest.load(folder)
    options = {"digits": {"score": 0.0, "nms_iou": 0.1}}
    heads = {
        name: HeadConfig(common.get(name, HeadCommon()), {**spec.options, **options.get(name, {})})
        for name, spec in loaded.heads.items()
    }
    return Inference(loaded, Backend(), heads)


def painted(t_s=0.0):
    """Left third blue, middle green, right red (BGR)."""
    pixels = np.zeros((240, 300, 3), np.uint8)
    for third in range(3):
        pixels[:, 100 * third : 100 * third + 100, third] = 200
    return Frame("camera", 0, round(t_s * 1e9), 0, pixels)


def test_the_highest_scoring_detections_get_a_result_of_their_crop(folder):
    with closing(opened(folder)) as inference:
        heads = inference.infer(painted()).heads
    found, crops = heads["digits"].result, heads["color"].result
    assert isinstance(crops, Crops)
    assert crops.of == "digits"
    best = np.argsort(-found.score, kind="stable")[:3].tolist()
    assert list(crops.row) == best
    for row, result in zip(crops.row, crops.results):
        middle = (found.xyxy[row, 0] + found.xyxy[row, 2]) / 2
        if found.xyxy[row, 2] - found.xyxy[row, 0] < 60:
            assert COLORS[result.class_id[0]] == ("blue", "green", "red")[min(int(middle // 100), 2)]


def test_results_are_published_with_their_detection(folder):
    labels = {name: head.labels for name, head in manifest.load(folder).heads.items()}
    with closing(opened(folder)) as inference:
        frame = inference.infer(painted())
    body = json.loads(Encoder("cam", "0", labels).result(0, frame, clock_synced=False).payload)
    strict().validate(body)
    published = [found["heads"]["color"] for found in body["heads"]["digits"]["detections"] if "heads" in found]
    assert len(published) == 3
    assert {entry["label"] for entry in published[0]["classification"]} <= set(COLORS)
    assert "color" not in body["heads"]


def test_it_respects_every_s_and_skips_held_results(folder):
    with closing(opened(folder, color=HeadCommon(every_s=1.0))) as inference:
        ran = ["color" in inference.infer(painted(t_s)).heads for t_s in (0.0, 0.5, 1.0, 1.5)]
    assert ran == [True, False, True, False]
    with closing(opened(folder, digits=HeadCommon(every_s=1.0))) as inference:
        ran = ["color" in inference.infer(painted(t_s)).heads for t_s in (0.0, 0.5, 1.0, 1.5)]
    assert ran == [True, False, True, False]


def test_it_can_be_disabled(folder):
    with closing(opened(folder)) as inference:
        inference.set_enabled("color", False)
        assert inference.enabled()["color"] is False
        assert "color" not in inference.infer(painted()).heads


@pytest.mark.parametrize("batch", [None, "n"])
def test_crops_of_a_frame_run_at_once_if_the_batch_is_free(folder, batch, monkeypatch):
    write_color_model(folder / "color.onnx", batch or 1)
    sizes = []
    run = Session.run
    monkeypatch.setattr(
        Session, "run", lambda self, feeds: sizes.append(len(next(iter(feeds.values())))) or run(self, feeds)
    )
    with closing(opened(folder)) as inference:
        sizes.clear()
        crops = inference.infer(painted()).heads["color"].result
    assert len(crops.row) == 3
    assert max(sizes) == (3 if batch else 1)
    write_color_model(folder / "color.onnx")
    with closing(opened(folder)) as inference:
        alone = inference.infer(painted()).heads["color"].result
    assert [each.class_id.tolist() for each in crops.results] == [each.class_id.tolist() for each in alone.results]


def test_a_graph_that_only_claims_a_free_batch_runs_one_crop_at_a_time(folder):
    write_color_model(folder / "color.onnx", "n", fixed=True)
    with closing(opened(folder)) as inference:
        assert len(inference.infer(painted()).heads["color"].result.row) == 3


def test_face_alignment_of_a_head_without_landmarks_is_rejected(folder):
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace("limit: 3", "align: face5"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"heads.color.crops.align: found face5, but 'digits' .* finds no landmarks"):
        manifest.load(folder)


def test_ignored_detections_get_no_crops(folder):
    left = HeadCommon(ignore=(((0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)),))
    with closing(opened(folder)) as inference:
        everything = inference.infer(painted()).heads["digits"].result
    with closing(opened(folder, digits=left)) as inference:
        heads = inference.infer(painted()).heads
    found = heads["digits"].result
    center = (everything.xyxy[:, 0] + everything.xyxy[:, 2]) / 2
    np.testing.assert_array_equal(found.xyxy, everything.xyxy[center >= 150])
    assert 0 < len(found) < len(everything)
    assert all(row < len(found) for row in heads["color"].result.row)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("of: digits", "of: digit", "there is no first-stage head 'digit'; did you mean 'digits'"),
        ("of: digits", "of: scene", "'scene' finds no boxes; expected a head that detects"),
        ("    graph: {onnx: color.onnx}\n", "", "takes crops; expected a graph of its own and no inputs"),
    ],
)
def test_an_invalid_second_stage_is_rejected(folder, old, new, problem):
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace(HEAD, HEAD.replace(old, new)), encoding="utf-8")
    with pytest.raises(ModelError, match=problem):
        manifest.load(folder)


def test_a_graph_of_another_size_is_rejected(folder):
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace("width: 16", "width: 32"), encoding="utf-8")
    with pytest.raises(ModelError, match=r"color.onnx takes 'image' float32\(1, 3, 16, 16\)"):
        opened(folder)


def test_the_first_stage_must_run(config_file, folder):
    text = f"source: {{type: synthetic}}\nmodel: {{path: {folder}}}\nheads:\n  color: {{}}\n"
    with pytest.raises(ConfigError, match=r":4: heads.color: takes crops of 'digits', which is not enabled"):
        config.load(config_file(text))
