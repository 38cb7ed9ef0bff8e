"""The real RKNN converter: conversion for two NPUs, its simulator against int8 here, and what it must not let through.

Needs the converter's environment (1.4 GB): $EDGE_APP_RKNN names it, else it is made once in the user's cache.
"""

from __future__ import annotations

import json
import os
import subprocess
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app import cli
from edge_app.backends import _rknn_file
from edge_app.compiler import assemble, frontend, origin, rknn, shapes
from edge_app.compiler.origin import Given
from edge_app.errors import ModelError
from edge_app.model import manifest
from tests.compiler.graphs import Graph, segmenter, trunk

pytestmark = pytest.mark.system
PROJECT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="session")
def converter() -> Path:
    folder = Path(os.environ.get("EDGE_APP_RKNN", rknn.DEFAULT_ENVIRONMENT)).expanduser()
    python = folder / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-I", "-c", "import ruamel.yaml"], check=False).returncode:
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


def test_parts_of_a_picture_are_compiled_and_equal_the_whole(converter, tmp_path, capsys):
    path = segmenter(tmp_path / "a.onnx", size=128)
    clip = str(PROJECT / "models" / "digits" / "sample.mp4")
    arguments = ["--calibrate", clip, "--target", "rv1106", "--rknn", str(converter), "--cut", "4,8", "--json"]
    arguments += ["--npu-shapes", "64x64,96x48"]
    assert cli.main(["compile", str(path), "--out", str(tmp_path / "m"), *arguments]) == 0
    report, made = json.loads(capsys.readouterr().out), manifest.load(tmp_path / "m")
    assert report["npu"]["rv1106"]["shapes"]["boxes"] >= 24
    shaped = made.shapes["rv1106"]
    assert len(shaped.backbone) == 2
    for steps in (*shaped.backbone, shaped.heads["a"]):
        assert [(shape.width, shape.height) for shape in steps] == [(128, 128), (64, 64), (96, 48)]
        assert all(made.memory[shape.file].weights > 0 for shape in steps)
    last = made.folder / shaped.backbone[0][2].file
    assert _rknn_file.parse(last.read_bytes(), last).inputs == (("image", (1, 3, 48, 96)),)


@pytest.mark.parametrize("target", ["rv1106", "rk3588"])
def test_a_part_equals_the_whole_with_its_scales_and_not_with_its_own(converter, tmp_path, target):
    """Bit by bit, of one segment at two shapes, in the middle, at borders and in corners."""
    assembly = assemble.assemble(origin.read([segmenter(tmp_path / "a.onnx", size=128)], Given()), None, (4, 8))
    step = shapes.segments(assembly)[0]
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8), (128, 128))
    maps = {frontend.IMAGE: image[None]}

    def convert(ranges, name, net, calibration, feeds):
        job = rknn.Job(name, net.serialize(), target, assembly.mean, assembly.std, calibration, feeds, ranges)
        return rknn.convert(job, converter / "bin" / "python", tmp_path)

    whole = convert({}, "whole", step.net, maps, maps)
    plain = convert(None, "plain", step.net, maps, maps)
    assert np.array_equal(whole.outputs[0], plain.outputs[0])  # to be told the ranges changes nothing
    assert len(np.unique(whole.outputs[0])) > 50
    sizes = ((128, 128), whole), [(64, 64), (96, 48)], maps
    assert shapes.made(step, *sizes, partial(convert, whole.ranges)).boxes >= 8
    with pytest.raises(ModelError, match="is not that of the whole picture"):
        shapes.made(step, *sizes, partial(convert, {}))
    with pytest.raises(ModelError, match=r"tensor '.*' has no range; expected those of the graph that this is a part"):
        convert({"other": ([0.0], [1.0])}, "named", step.net, maps, maps)
