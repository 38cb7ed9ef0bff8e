"""The real converter for ncnn, pnnx: models compiled for ncnn, their proof, and graphs that must be rejected.

Needs the environment of pnnx (110 MB): $EDGE_APP_PNNX names it, else it is created once in the user's cache.
"""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from edge_app import cli
from edge_app.compiler import pnnx
from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.evaluation import result_agreement
from edge_app.frame import Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from tests.compiler.graphs import Graph, segmenter, trunk
from tests.conftest import PROJECT

pytestmark = pytest.mark.system
pytest.importorskip("ncnn", reason="needs the extra ncnn")
DIGITS = PROJECT / "models/digits"


@pytest.fixture(scope="session")
def converter() -> Path:
    folder = Path(os.environ.get("EDGE_APP_PNNX", pnnx.DEFAULT_ENVIRONMENT)).expanduser()
    assert cli.main(["compile", "--setup-pnnx", str(folder)]) == 0
    return folder


def compiled(path: Path, out: Path, converter: Path, capsys, *arguments: str) -> dict:
    command = ["compile", str(path), "--out", str(out), "--target", "ncnn", "--pnnx", str(converter), "--json"]
    assert cli.main([*command, *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_digits_compute_the_same_and_their_parts_take_any_size(converter, tmp_path, capsys):
    report = compiled(DIGITS, tmp_path / "digits", converter, capsys)["ncnn"]
    assert min(report["agreement"].values()) == 1.0
    assert report["max_error"] <= 1e-4
    assert {"backbone0", "backbone1", "backbone2", "digits"} <= set(report["free"])
    config = tmp_path / "config.yaml"
    config.write_text(
        f"source: {{type: video, path: {DIGITS}/sample.mp4}}\nmodel: {{path: {tmp_path}/digits, backend: ncnn}}\n"
        'heads: {digits: {}, panel: {}, scene: {}}\nsinks: [{type: jsonl, path: "-"}]\n'
    )
    assert cli.main(["check", "-c", str(config)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ok    golden")]
    assert len(lines) == 2


@pytest.mark.parametrize("name", ["FastestDet", "nanodet_m"])
def test_boxes_equal_those_of_onnxruntime(name, converter, tmp_path, capsys, data):
    import cv2

    report = compiled(data / f"{name}.onnx", tmp_path / name, converter, capsys)["ncnn"]
    assert min(report["agreement"].values()) >= 0.99
    assert len(report["free"]) >= 5  # the backbone's segments and the head
    loaded = manifest.load(tmp_path / name)
    heads = {head: HeadConfig(HeadCommon(), {**spec.options, "score": 0.15}) for head, spec in loaded.heads.items()}
    clip = cv2.VideoCapture(str(data / "vtest.avi"))
    frames = []
    for i in range(100):
        _, image = clip.read()
        frames += [image] if i % 20 == 0 else []
    results = []
    for engine in ("ncnn", "onnx"):
        with closing(Inference(loaded, open_backend(loaded, ModelConfig(tmp_path, engine)), heads)) as inference:
            found = [inference.infer(Frame("t", i, i, i, image)) for i, image in enumerate(frames)]
            results.append([next(iter(frame.heads.values())).result for frame in found])
    assert sum(map(len, results[0])) >= 20
    assert result_agreement(*results[::-1], [image.shape[1::-1] for image in frames]) >= 0.99


def test_an_operation_without_a_counterpart_is_named(converter, tmp_path, capsys):
    g = Graph()
    x = trunk(g)
    best, where = g.node("TopK", x, g.weight(np.array([4], np.int64)), outputs=2, axis=3)
    path = g.save(tmp_path / "a.onnx", {"best": g.node("Add", best, g.node("Cast", where, to=1))})
    arguments = ["--target", "ncnn", "--pnnx", str(converter), "--family", "segment", "--out", str(tmp_path / "m")]
    assert cli.main(["compile", str(path), *arguments]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "pnnx does not convert TopK" in error
    assert not (tmp_path / "m").exists()


def test_the_committed_model_of_the_unit_tests_can_be_made_again(converter, tmp_path, capsys):
    path = segmenter(tmp_path / "small.onnx", size=96)
    compiled(path, tmp_path / "ncnn_model", converter, capsys, "--cut", "4,8")
    made, kept = (manifest.load(folder / "ncnn_model") for folder in (tmp_path, PROJECT / "tests/backends"))
    assert made.of_target("ncnn") == kept.of_target("ncnn")
