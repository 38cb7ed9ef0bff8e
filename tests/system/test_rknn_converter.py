"""The real RKNN converter: conversion for two NPUs, its simulator against int8 here, and graphs that must be rejected.

Needs the converter's environment (1.4 GB): $EDGE_APP_RKNN names it, else it is created once in the user's cache.
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
from edge_app.compiler import assemble, frontend, input_models, npu_shapes, rknn
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.evaluation import cosine
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


def test_digits_in_the_simulator_matches_int8_here(converter, tmp_path, capsys):
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


@pytest.mark.parametrize(("name", "target", "precision", "least"), [
    ("v8", "rv1106", "int8", 0.9),
    pytest.param("v26", "rv1106", "int8", 0.8, marks=pytest.mark.long),
    ("v26", "rk3588", "float16", 0.999),
])  # fmt: skip
def test_converts_a_yolo_with_boxes_and_scores_apart(converter, data, tmp_path, name, target, precision, least):
    """As one graph. v26 is 16 times narrower than the published one; with random weights, it loses more in INT8.

    Joined boxes and scores have a cosine far below these bounds. The cosines reached are in RESULTS.md.
    """
    assembly = assemble.assemble(input_models.read([data / "exports" / f"{name}.onnx"], ModelOptions()), None, ())
    paths = sorted((data / "coco20").glob("*.jpg"))
    images = np.stack([cv2.resize(cv2.imread(str(path)), (160, 160)) for path in paths])
    calibration, held_out = {frontend.IMAGE: images[4:]}, images[:4]
    job = rknn.ConversionJob(
        name, assembly.whole.serialize(), target, assembly.mean, assembly.std, calibration,
        {frontend.IMAGE: held_out}, precision=precision,
    )  # fmt: skip
    converted = rknn.convert(job, converter / "bin" / "python", tmp_path)
    assert assembly.whole.outputs == [f"{name}/{kind}{i}" for i in range(3) for kind in ("boxes", "scores")]
    session = HostSession(assembly.whole_on_pixels().serialize())
    expected = zip(*(session.run(image[None]) for image in held_out))
    for array, rows in zip(converted.outputs, expected, strict=True):
        assert cosine(array, np.concatenate(rows)) >= least


def test_digits_in_int16_equals_float(converter, tmp_path):
    """As one graph, on frames that are not used for calibration."""
    assembly = assemble.assemble(input_models.read([PROJECT / "models" / "digits"], ModelOptions()), None, ())
    clip = cv2.VideoCapture(str(PROJECT / "models" / "digits" / "sample.mp4"))
    images = np.stack([cv2.resize(clip.read()[1], (320, 320)) for _ in range(6)])
    clip.release()
    job = rknn.ConversionJob(
        "digits", assembly.whole.serialize(), "rv1106", assembly.mean, assembly.std, {frontend.IMAGE: images[:4]},
        {frontend.IMAGE: images[4:]}, precision="int16",
    )  # fmt: skip
    converted = rknn.convert(job, converter / "bin" / "python", tmp_path)
    session = HostSession(assembly.whole_on_pixels().serialize())
    expected = zip(*(session.run(image[None]) for image in images[4:]))
    for array, rows in zip(converted.outputs, expected, strict=True):
        assert cosine(array, np.concatenate(rows)) >= 0.9999


def test_rejects_a_layer_that_rv1106_would_run_on_the_cpu(converter, tmp_path, capsys):
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
    assert "workaround" in error
    assert not (tmp_path / "m").exists()


def test_reports_an_unreadable_graph_in_one_line(converter, tmp_path):
    job = rknn.ConversionJob(
        "broken", b"no graph", "rv1106", None, None, {"c8": np.zeros((1, 4, 8, 8), np.float32)}, {}
    )
    with pytest.raises(Exception, match=r"broken for rv1106: the RKNN converter failed: .+") as caught:
        rknn.convert(job, converter / "bin" / "python", tmp_path)
    assert "\n" not in str(caught.value)


def test_converts_a_segmenter_with_separate_features(converter, tmp_path, capsys):
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


@pytest.mark.parametrize(
    "name", ["paddle", *(pytest.param(name, marks=pytest.mark.long) for name in ("torch_dynamo", "tensorflow"))]
)
def test_small_exports_of_each_framework_convert(converter, tmp_path, capsys, name):
    path = PROJECT / "tests" / "compiler" / "exports" / f"{name}.onnx"
    clip = str(PROJECT / "models" / "digits" / "sample.mp4")
    arguments = ["--input", "64x64", "--calibrate", clip, "--target", "rv1106", "--rknn", str(converter), "--json"]
    assert cli.main(["compile", str(path), "--out", str(tmp_path / "m"), *arguments]) == 0
    report = json.loads(capsys.readouterr().out)
    assert min(report["npu"]["rv1106"]["cosines"].values()) >= 0.98


def test_compiled_parts_equal_the_whole_image(converter, tmp_path, capsys):
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
def test_a_part_equals_the_whole_only_with_the_scales_of_the_whole(converter, tmp_path, target):
    """Bit by bit, one segment at two shapes, in the middle, at borders and in corners."""
    assembly = assemble.assemble(
        input_models.read([segmenter(tmp_path / "a.onnx", size=128)], ModelOptions()), None, (4, 8)
    )
    segment = npu_shapes.segments(assembly)[0]
    image = cv2.resize(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8), (128, 128))
    maps = {frontend.IMAGE: image[None]}

    def convert(ranges, name, net, calibration, feeds):
        job = rknn.ConversionJob(name, net.serialize(), target, assembly.mean, assembly.std, calibration, feeds, ranges)
        return rknn.convert(job, converter / "bin" / "python", tmp_path)

    whole = convert({}, "whole", segment.net, maps, maps)
    plain = convert(None, "plain", segment.net, maps, maps)
    assert np.array_equal(whole.outputs[0], plain.outputs[0])  # given ranges change nothing
    assert len(np.unique(whole.outputs[0])) > 50
    sizes = ((128, 128), whole), [(64, 64), (96, 48)], maps
    assert npu_shapes.convert_shapes(segment, *sizes, partial(convert, whole.ranges)).boxes >= 8
    with pytest.raises(ModelError, match="differs from the whole image"):
        npu_shapes.convert_shapes(segment, *sizes, partial(convert, {}))
    with pytest.raises(ModelError, match=r"tensor '.*' has no range; expected the ranges of the whole graph"):
        convert({"other": ([0.0], [1.0])}, "named", segment.net, maps, maps)
