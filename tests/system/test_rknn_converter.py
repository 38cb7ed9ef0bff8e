"""The real RKNN converter: conversion for two NPUs, its simulator against int8 here, and what it must not let through.

Needs the converter's environment (1.4 GB): $EDGE_APP_RKNN names it, else it is made once in the user's cache.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app import cli, manifest
from edge_app.backends import _rknn_file
from edge_app.compiler import rknn
from tests.compiler.graphs import Graph, segmenter, trunk

pytestmark = pytest.mark.system
PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def converter() -> Path:
    folder = Path(os.environ.get("EDGE_APP_RKNN", rknn.DEFAULT_ENVIRONMENT)).expanduser()
    if not (folder / "bin" / "python").exists():
        assert cli.main(["compile", "--setup-rknn", str(folder)]) == 0
    return folder


def test_digits_runs_in_the_simulator_as_it_does_here(converter, tmp_path, capsys):
    model, out = PROJECT / "models" / "digits", tmp_path / "digits"
    clip = str(model / "sample.mp4")
    targets = ["--target", "onnx,rv1106,rk3588", "--rknn", str(converter)]
    assert cli.main(["compile", str(model), "--out", str(out), "--calibrate", clip, "--json", *targets]) == 0
    report = json.loads(capsys.readouterr().out)
    for target in ("rv1106", "rk3588"):
        npu = report["npu"][target]
        assert min(npu["cosines_int8"].values()) >= 0.99
        assert npu["agreement_int8"]["digits"] >= 0.97
    made = manifest.load(out)
    for name in made.of_target("rv1106"):
        assert made.memory[name].weights > 0
        header = _rknn_file.parse((out / name).read_bytes(), out / name)
        assert (header.format, header.platforms) == (_rknn_file.MINI, ("rv1106",))
    with np.load(out / "golden.npz") as golden:
        assert golden["rv1106:digits/scores"].shape == golden["digits/scores"].shape


def test_a_layer_that_falls_to_the_cpu_is_refused_for_rv1106(converter, tmp_path, capsys):
    g = Graph()
    x = g.conv(trunk(g), 16, 4, 1)
    path = g.save(tmp_path / "a.onnx", {"best": g.node("Log", g.node("Exp", x))})
    images = tmp_path / "images"
    images.mkdir()
    for i in range(4):
        noise = np.random.default_rng(i).integers(0, 256, (48, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{i}.png"), noise)
    arguments = ["--calibrate", str(images), "--target", "rv1106", "--rknn", str(converter), "--family", "segment"]
    assert cli.main(["compile", str(path), "--out", str(tmp_path / "m"), *arguments]) == 2
    error = capsys.readouterr().err
    assert "would run on the CPU" in error
    assert "known way round" in error
    assert not (tmp_path / "m").exists()


def test_a_graph_that_the_converter_cannot_read_is_one_line(converter, tmp_path):
    job = rknn.Job("broken", b"no graph", "rv1106", None, None, {"c8": np.zeros((1, 4, 8, 8), np.float32)}, {})
    with pytest.raises(Exception, match=r"broken for rv1106: the RKNN converter failed: .+") as caught:
        rknn.convert(job, converter / "bin" / "python", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_segmenter_converts_with_its_features_apart(converter, tmp_path, capsys):
    path = segmenter(tmp_path / "a.onnx")
    clip = str(PROJECT / "models" / "digits" / "sample.mp4")
    arguments = ["--calibrate", clip, "--target", "rv1106", "--rknn", str(converter), "--cut", "4,8", "--json"]
    assert cli.main(["compile", str(path), "--out", str(tmp_path / "m"), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert min(report["npu"]["rv1106"]["cosines"].values()) >= 0.98
    first, second = manifest.load(tmp_path / "m").backbone.graphs
    assert first == {"onnx": "backbone0.onnx", "int8": "backbone0.int8.onnx", "rv1106": "backbone.rv1106.rknn"}
    assert set(second) == {"onnx", "int8"}
    assert (tmp_path / "m" / "fused.rv1106.rknn").exists()
