"""edge-app compile: from files to a model folder that the runtime runs, and the input that it rejects."""

from __future__ import annotations

import hashlib
import json
import time

import cv2
import numpy as np
import onnx
import pytest

from edge_app import cli
from edge_app.backends import Graph as GraphFile
from edge_app.compiler import folder
from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.errors import ConfigError, ModelError
from edge_app.evaluation import f1_with_hysteresis
from edge_app.frame import Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.golden import golden_error
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from tests.compiler.graphs import Graph, classifier, segmenter


def compile_(*arguments) -> int:
    return cli.main(["compile", *(str(a) for a in arguments)])


def running(path):
    """A compiled model folder, and its inference as on the device."""
    model = manifest.load(path)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in model.heads.items()}
    return model, Inference(model, open_backend(model, ModelConfig(model.folder, "onnx")), heads)


def detected(path, image, **options):
    model = manifest.load(path)
    (name,) = model.heads
    head = HeadConfig(HeadCommon(), {**model.heads[name].options, **options})
    inference = Inference(model, open_backend(model, ModelConfig(model.folder, "onnx")), {name: head})
    frame = inference.infer(Frame("t", 0, 0, 0, image))
    inference.close()
    labels = model.heads[name].labels
    return frame.heads[name].result, labels


@pytest.fixture
def pictures(tmp_path):
    images = tmp_path / "pictures"
    images.mkdir()
    for i in range(12):
        noise = np.random.default_rng(i).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        cv2.imwrite(str(images / f"{i:02}.png"), cv2.resize(noise, (80, 60)))
    return images


def test_compiles_a_model_to_a_folder_with_report_and_golden_vectors(tmp_path, pictures, capsys):
    out = tmp_path / "models" / "tiny"
    assert compile_(classifier(tmp_path / "a.onnx"), "--out", out, "--calibrate", pictures, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["heads"][0] | {"name": "a", "family": "classify"} == report["heads"][0]
    assert report["max_abs_error"] <= 1e-4
    assert {"backbone", "heads", "max_abs_error", "speedup", "int8_agreement", "targets"} <= set(report)
    assert 0.9 < report["int8"]["scores"] <= 1
    assert "uint8 BGR pixels" in report["input"]
    model, inference = running(out)
    assert model.backbone.features == ("c8",)
    assert model.backbone.extents["c8"].channels == 24
    assert (model.input.dtype, model.input.layout, model.input.color) == ("uint8", "nhwc", "bgr")
    for name, digest in model.sha256.items():
        assert hashlib.sha256((out / name).read_bytes()).hexdigest() == digest
    with np.load(out / "golden.npz") as golden:
        assert {"image", "a/probabilities", "int8:a/probabilities"} == set(golden.files)
        for i, image in enumerate(golden["image"]):
            found = inference.outputs(image[None])["a"]["probabilities"]
            assert golden_error(golden["a/probabilities"][i][None], found) < 1e-5
    inference.close()
    assert not [path for path in out.parent.iterdir() if path != out]


def test_compiles_two_models_to_one_backbone_and_two_heads(tmp_path, capsys):
    out = tmp_path / "both"
    same = ("--mean", "0", "--std", "255", "--color", "rgb", "--resize", "stretch")
    assert compile_(classifier(tmp_path / "a.onnx"), segmenter(tmp_path / "b.onnx"), "--out", out, *same) == 0
    assert "shared by 2 heads" in capsys.readouterr().out
    _, inference = running(out)
    frame = inference.infer(Frame("t", 0, 0, 0, np.full((60, 80, 3), 90, np.uint8)))
    assert set(frame.heads) == {"a", "b"}
    inference.close()


def test_cuts_the_backbone_at_the_given_strides(tmp_path):
    out = tmp_path / "cut"
    assert compile_(segmenter(tmp_path / "a.onnx"), "--out", out, "--cut", "4,8") == 0
    model, inference = running(out)
    assert [graph["onnx"] for graph in model.backbone.graphs] == ["backbone0.onnx", "backbone1.onnx"]
    assert sorted(field.stride for field in model.backbone.extents.values()) == [4, 8]
    with np.load(out / "golden.npz") as golden:
        found = inference.outputs(golden["image"][:1])["a"]["map"]
        assert golden_error(golden["a/map"][:1], found) < 1e-5
    inference.close()


def test_the_backbone_takes_any_image_size(tmp_path):
    out = tmp_path / "free"
    assert compile_(segmenter(tmp_path / "a.onnx"), "--out", out, "--cut", "none") == 0
    session = open_backend(manifest.load(out), ModelConfig(out, "onnx")).load(GraphFile(out / "backbone.onnx", None))
    assert session.run({"image": np.zeros((1, 96, 32, 3), np.uint8)})["c8"].shape == (1, 16, 12, 4)


@pytest.mark.parametrize("mean", ["0", "127", "103.5,116.3,123.7"])
def test_compiles_a_model_folder_again(tmp_path, mean):
    first, again = tmp_path / "first", tmp_path / "again"
    compile_(classifier(tmp_path / "a.onnx"), "--out", first, "--mean", mean, "--std", "60,58,57")
    assert compile_(first, "--out", again) == 0
    (before, a), (after, b) = running(first), running(again)
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        a.outputs(picture)["a"]["probabilities"], b.outputs(picture)["a"]["probabilities"], atol=1e-4
    )
    assert before.input == after.input


def test_keeps_other_files_of_a_replaced_folder(tmp_path):
    out = tmp_path / "m"
    compile_(classifier(tmp_path / "a.onnx"), "--out", out)
    (out / "README.md").write_text("notes")
    (out / "old.onnx").write_text("other")
    assert compile_(segmenter(tmp_path / "b.onnx"), "--out", out) == 0
    assert (out / "README.md").read_text() == "notes"
    assert (out / "old.onnx").exists()
    assert not (out / "a.onnx").exists()
    assert set(manifest.load(out).heads) == {"b"}


def rejected(capsys, tmp_path, *arguments) -> str:
    """The last line on stderr of a rejected compilation, after checking that it left no files."""
    out = tmp_path / "rejected"
    before = sorted(tmp_path.rglob("*"))
    assert compile_(*arguments, "--out", out) == 2
    assert sorted(tmp_path.rglob("*")) == before
    error = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    return error[-1]


def test_reports_bad_input_in_one_line(capsys, tmp_path, pictures):
    good = classifier(tmp_path / "good.onnx")
    text = tmp_path / "text.onnx"
    text.write_text("not a graph")
    empty, black = tmp_path / "empty", tmp_path / "black"
    empty.mkdir()
    black.mkdir()
    cv2.imwrite(str(black / "a.png"), np.zeros((32, 32, 3), np.uint8))
    new = tmp_path / "new.onnx"
    new.write_bytes(_of_opset_99())
    assert "text.onnx: is not an ONNX file" in rejected(capsys, tmp_path, text)
    assert "opset 99; expected 7 to 22" in rejected(capsys, tmp_path, new)
    assert "found no image" in rejected(capsys, tmp_path, good, "--calibrate", empty)
    assert "not found; expected a clip" in rejected(capsys, tmp_path, good, "--calibrate", tmp_path / "absent.mp4")
    assert "found no image" in rejected(capsys, tmp_path, good, "--calibrate", text)
    assert "--target: found 'rk9999'" in rejected(capsys, tmp_path, good, "--target", "rk9999")
    assert "expected --calibrate" in rejected(capsys, tmp_path, good, "--target", "rv1106")
    absent = ("--target", "rv1106", "--calibrate", pictures, "--rknn", tmp_path / "absent")
    assert "--setup-rknn" in rejected(capsys, tmp_path, good, *absent)
    parts = ("--npu-shapes", "32x32")
    assert "--npu-shapes: found no NPU among the targets" in rejected(capsys, tmp_path, good, *parts)
    assert "--npu-shapes: found '32'" in rejected(capsys, tmp_path, good, "--npu-shapes", "32")
    assert "--input: found '0x3'" in rejected(capsys, tmp_path, good, "--input", "0x3")
    assert "--mean: found 'a,b'" in rejected(capsys, tmp_path, good, "--mean", "a,b")
    assert "--std: found '1,nan,1'" in rejected(capsys, tmp_path, good, "--std", "1,nan,1")
    assert "cannot be read as text" in rejected(capsys, tmp_path, good, "--labels", tmp_path / "absent.txt")
    labels = tmp_path / "labels.txt"
    labels.write_text("one\ntwo\n")
    assert "labels: found 2 labels, the graph has 5 classes" in rejected(capsys, tmp_path, good, "--labels", labels)
    assert "two models have this name" in rejected(capsys, tmp_path, good, good)


def _of_opset_99() -> bytes:
    g = Graph()
    model = g.model({"y": g.relu("image")})
    model.opset_import[0].version = 99
    return model.SerializeToString()


def test_warns_of_calibration_with_one_black_image(tmp_path, capsys):
    black = tmp_path / "black"
    black.mkdir()
    cv2.imwrite(str(black / "a.png"), np.zeros((32, 32, 3), np.uint8))
    assert compile_(classifier(tmp_path / "a.onnx"), "--out", tmp_path / "m", "--calibrate", black) == 0
    assert "the int8 scales are meaningless" in capsys.readouterr().out


def test_does_not_replace_a_folder_without_a_model(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "notes.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"contains files but no model\.yaml"), folder.staged(tmp_path / "docs"):
        pass
    assert (tmp_path / "docs" / "notes.txt").read_text() == "text"


def test_a_full_disk_leaves_the_old_folder_unchanged(tmp_path):
    out = tmp_path / "m"
    compile_(classifier(tmp_path / "a.onnx"), "--out", out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fill():
        with folder.staged(out) as images, open("/dev/full", "wb", buffering=0) as full:
            (images / "half.onnx").write_bytes(b"half")
            full.write(b"x")

    with pytest.raises(ModelError, match="cannot be written: No space left on device; nothing was changed"):
        fill()
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_nanodet_at_another_size_finds_people_and_the_van(data, tmp_path, capsys):
    out = tmp_path / "nanodet"
    assert compile_(data / "nanodet_m.onnx", "--out", out, "--input", "768x576", "--json") == 0
    assert json.loads(capsys.readouterr().out)["max_abs_error"] <= 1e-4
    _, frame = cv2.VideoCapture(str(data / "vtest.avi")).read()
    found, labels = detected(out, frame, score=0.4)
    names = [labels[i] for i in found.class_id]
    assert names.count("person") >= 3
    assert {"car", "truck", "bus"} & set(names), names


def test_fastestdet_int8_keeps_its_boxes_and_compiles_within_a_minute_of_cpu_time(data, tmp_path, capsys):
    out = tmp_path / "fastestdet"
    start = time.process_time()
    cal = ("--calibrate", data / "vtest.avi", "--calibrate", data / "coco20")
    assert compile_(data / "FastestDet.onnx", "--out", out, *cal, "--json") == 0
    assert time.process_time() - start <= 60
    report = json.loads(capsys.readouterr().out)
    assert report["max_abs_error"] <= 1e-4
    assert report["int8"]["float_convolutions"] == []
    assert report["int8_agreement"]["fastestdet"] >= 0.93


def test_the_face_detector_decodes_here_what_its_file_decoded(data, tmp_path, capsys):
    """The compiled graph is cut before its boxes: the decoder's boxes are those of the published graph."""
    out, plain = tmp_path / "faces", tmp_path / "plain"
    assert compile_(data / "version-RFB-320.onnx", "--out", out, "--json") == 0
    assert json.loads(capsys.readouterr().out)["max_abs_error"] <= 1e-4
    plain.mkdir()
    (plain / "a.onnx").write_bytes((data / "version-RFB-320.onnx").read_bytes())
    (plain / "model.yaml").write_text(
        "format: 1\nname: plain\ninput: {width: 320, height: 240, color: rgb, mean: [127, 127, 127], "
        "std: [128, 128, 128], resize: stretch}\nheads: {faces: {family: ultraface, graph: {onnx: a.onnx}}}\n"
    )
    compared = 0
    for file in sorted((data / "coco20").glob("*.jpg")):
        image = cv2.imread(str(file))
        (a, _), (b, _) = detected(out, image, score=0.3), detected(plain, image, score=0.3)
        assert f1_with_hysteresis([b], [a]) == 1.0
        np.testing.assert_allclose(a.xyxy, b.xyxy, atol=0.5)
        compared += len(a)
    assert compared >= 3


def test_writes_valid_onnx_files(tmp_path, pictures):
    out = tmp_path / "m"
    compile_(classifier(tmp_path / "a.onnx"), "--out", out, "--calibrate", pictures)
    for path in out.glob("*.onnx"):
        onnx.checker.check_model(onnx.load(path), full_check=True)


def test_the_fused_graph_runs_if_every_head_is_always_due(tmp_path, capsys):
    out = tmp_path / "both"
    same = ("--mean", "0", "--std", "255", "--color", "rgb", "--resize", "stretch")
    compile_(classifier(tmp_path / "a.onnx"), segmenter(tmp_path / "b.onnx"), "--out", out, *same)
    model = manifest.load(out)
    options = {name: spec.options for name, spec in model.heads.items()}
    always = {name: HeadConfig(HeadCommon(), options[name]) for name in model.heads}
    sometimes = always | {"b": HeadConfig(HeadCommon(every_s=1.0), options["b"])}
    picture = np.random.default_rng(0).integers(0, 256, (1, 64, 64, 3), dtype=np.uint8)
    fused, apart = (
        Inference(model, open_backend(model, ModelConfig(model.folder, "onnx")), heads) for heads in (always, sometimes)
    )
    (out / "fused.onnx").unlink()  # its absence shows that it is the file that is loaded
    with pytest.raises(ModelError, match=r"fused\.onnx: cannot be read"):
        Inference(model, open_backend(model, ModelConfig(model.folder, "onnx")), always)
    for head, outputs in apart.outputs(picture).items():
        for name, expected in outputs.items():
            np.testing.assert_allclose(fused.outputs(picture)[head][name], expected, atol=1e-5)
    for inference in (fused, apart):
        inference.close()
