"""The plain loop of `bench pipeline` does the runtime's work on any model folder."""

from __future__ import annotations

import shutil
from contextlib import closing

import numpy as np
import pytest

from edge_app.backends.onnx import Backend
from edge_app.bench.plain_loop import PlainModel, blob
from edge_app.config import HeadCommon, HeadConfig
from edge_app.errors import ModelError
from edge_app.frame import Frame
from edge_app.inference.preprocess import Preprocess
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from edge_app.model.schema import Input
from tests.compiler import graphs
from tests.conftest import PROJECT
from tests.inference.test_crops import HEAD, write_color_model

DIGITS = PROJECT / "models/digits"
FASTESTDET = """\
format: 1
name: small
input: {width: 32, height: 32, layout: nchw, resize: stretch}
heads:
  objects: {family: fastestdet, graph: {onnx: small.onnx}, labels: [a, b, c], options: {score: 0.3}}
"""


def image(width: int = 320, height: int = 240) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def runtime(folder, picture) -> dict:
    """The results of edge-app."""
    loaded = manifest.load(folder)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    with closing(Inference(loaded, Backend(), heads)) as model:
        return {name: out.result for name, out in model.infer(Frame("camera", 0, 0, 0, picture)).heads.items()}


@pytest.fixture
def in_parts(tmp_path):
    """The shipped model without its fused graph, and with a second-stage head."""
    folder = tmp_path / "model"
    shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("sample*", "golden*", "*.rknn", "*.int8.*"))
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    lines = [line for line in text[: text.index("\nsha256:")].splitlines() if not line.startswith("fused:")]
    (folder / "model.yaml").write_text("\n".join(lines) + "\n" + HEAD, encoding="utf-8")
    write_color_model(folder / "color.onnx")
    return folder


@pytest.mark.parametrize("target", ["onnx", "int8"])
def test_every_head_of_a_fused_model_is_decoded(target):
    model, picture = PlainModel(manifest.load(DIGITS), 1, target), image()
    found = model.infer(picture)
    assert list(found) == ["digits", "panel", "scene"]
    if target == "onnx":
        expected = runtime(DIGITS, picture)
        assert found["scene"]["class_id"] == expected["scene"].class_id.tolist()
        assert found["scene"]["score"] == pytest.approx(expected["scene"].score.tolist(), abs=1e-3)


def test_a_model_in_parts_gives_the_results_of_the_fused_one(in_parts):
    parts, fused = PlainModel(manifest.load(in_parts), 1, "onnx"), PlainModel(manifest.load(DIGITS), 1, "onnx")
    found, expected = parts.infer(image()), fused.infer(image())
    assert found["scene"]["score"] == pytest.approx(expected["scene"]["score"], abs=1e-4)
    assert [len(box) for box in found["digits"]["xyxy"]] == [len(box) for box in expected["digits"]["xyxy"]]


def test_a_second_stage_runs_on_the_crops_of_the_best_boxes(in_parts):
    text = (in_parts / "model.yaml").read_text(encoding="utf-8")
    text = text.replace("    family: digits\n", "    family: digits\n    options: {score: 0.0, nms_iou: 0.1}\n")
    (in_parts / "model.yaml").write_text(text, encoding="utf-8")
    red = np.full((240, 320, 3), (10, 10, 200), np.uint8)
    found = PlainModel(manifest.load(in_parts), 1, "onnx").infer(red)
    assert 1 <= len(found["color"]) <= 3
    assert {result["class_id"][0] for result in found["color"]} == {0}


def write_fastestdet(path, *, split: bool) -> None:
    """A network with FastestDet's outputs on a grid of 4x4 cells, in one tensor or in three."""
    g = graphs.Graph(seed=3)
    features = g.relu(g.conv(g.conv("image", 3, 8, stride=2), 8, 8, stride=2))
    features = g.relu(g.conv(features, 8, 8, stride=2))
    parts = {
        "objectness": g.node("Sigmoid", g.conv(features, 8, 1, kernel=1)),
        "boxes": g.conv(features, 8, 4, kernel=1),
        "classes": g.node("Sigmoid", g.conv(features, 8, 3, kernel=1)),
    }
    g.save(path, parts if split else {"output": g.node("Concat", *parts.values(), axis=1)}, shape=(1, 3, 32, 32))


@pytest.mark.parametrize("split", [False, True])
def test_fastestdet_is_decoded_from_one_output_and_from_three(tmp_path, split):
    write_fastestdet(tmp_path / "small.onnx", split=split)
    (tmp_path / "model.yaml").write_text(FASTESTDET, encoding="utf-8")
    picture = image(64, 48)
    found = PlainModel(manifest.load(tmp_path), 1, "onnx").infer(picture)["objects"]
    expected = runtime(tmp_path, picture)["objects"]
    assert len(expected)
    best = found[0]
    assert best["score"] == pytest.approx(float(expected.score[0]), abs=1e-3)
    assert best["label"] == expected.class_id[0]


def test_a_target_without_graphs_is_rejected():
    with pytest.raises(ModelError, match="none for 'rv9'"):
        PlainModel(manifest.load(DIGITS), 1, "rv9")


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop"])
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize("size", [(320, 240), (96, 64)])
def test_its_input_tensor_is_that_of_the_runtime(resize, dtype, layout, size):
    spec = Input(64, 64, color="rgb", layout=layout, dtype=dtype, mean=(1, 2, 3), std=(4, 5, 6), resize=resize)
    smooth = np.linspace(0, 255, size[0] * size[1] * 3).reshape(size[1], size[0], 3).astype(np.uint8)
    expected, _ = Preprocess(spec).prepare(Frame("camera", 0, 0, 0, smooth))
    found = blob(smooth, spec)
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype)
    difference = np.abs(found.astype(np.float32) - expected.astype(np.float32))
    assert np.median(difference) <= (1 if dtype == "uint8" else 0.3)
