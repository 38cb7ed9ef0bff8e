"""The inference stage with the shipped model: which heads run when, and errors in model files."""

from __future__ import annotations

import re
import shutil
from contextlib import closing
from pathlib import Path

import numpy as np
import onnx
import pytest

from edge_app.backends.onnx import Backend
from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.errors import ConfigError, ModelError
from edge_app.frame import Detections, Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from tests.conftest import PROJECT

DIGITS = PROJECT / "models/digits"


def opened(folder: Path = DIGITS, **common: HeadCommon) -> Inference:
    loaded = manifest.load(folder)
    heads = {name: HeadConfig(common.get(name, HeadCommon()), spec.options) for name, spec in loaded.heads.items()}
    return Inference(loaded, Backend(), heads)


def frame(at_s: float = 0.0) -> Frame:
    with np.load(DIGITS / "golden.npz") as golden:
        return Frame("t", 0, round(at_s * 1e9), 0, np.ascontiguousarray(golden["image"][0][:, :, ::-1]))


@pytest.fixture
def changed(tmp_path: Path):
    """A copy of the shipped model with its manifest edited and no hashes: `changed(old, new)` -> folder."""

    def make(*edits: tuple[str, str]) -> Path:
        folder = tmp_path / "model"
        shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("sample*"))
        text = (folder / "model.yaml").read_text(encoding="utf-8")
        text = text[: text.index("\nsha256:")] if "\nsha256:" in text else text
        for old, new in edits:
            assert old in text
            text = text.replace(old, new)
        (folder / "model.yaml").write_text(text + "\n", encoding="utf-8")
        return folder

    return make


@pytest.mark.parametrize("fused", [True, False])
def test_int8_runs_the_quantized_graphs(fused):
    """The outputs match the golden vectors of int8, which differ from those of float32."""
    loaded = manifest.load(DIGITS)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    backend = open_backend(loaded, ModelConfig(DIGITS, "onnx", precision="int8"))
    with closing(Inference(loaded, backend, heads, fused=fused)) as inference, np.load(DIGITS / "golden.npz") as golden:
        found = inference.outputs(golden["image"][:1])["digits"]["scores"]
        own, other = golden["int8:digits/scores"][:1], golden["digits/scores"][:1]
    assert np.abs(found - own).max() < 0.25 * np.abs(other - own).max()


def test_every_head_returns_its_result_type():
    with closing(opened()) as inference:
        heads = inference.infer(frame()).heads
    assert list(heads) == ["digits", "panel", "scene"]
    assert isinstance(heads["digits"].result, Detections)
    assert all(output.age_ns == 0 for output in heads.values())


def test_a_head_that_is_not_due_repeats_its_result_with_its_age():
    with closing(opened(scene=HeadCommon(every_s=1.0))) as inference:
        outputs = [inference.infer(frame(at_s)).heads["scene"] for at_s in (0, 0.4, 0.999, 1.0, 1.5)]
    assert [output.age_ns for output in outputs] == [0, 400_000_000, 999_000_000, 0, 500_000_000]
    assert outputs[0].result is outputs[2].result
    assert outputs[0].result is not outputs[3].result


def test_a_head_runs_again_after_the_clock_steps_back():
    with closing(opened(scene=HeadCommon(every_s=1.0))) as inference:
        inference.infer(frame(100.0))
        assert inference.infer(frame(1.0)).heads["scene"].age_ns == 0


def test_a_head_can_be_disabled_and_enabled():
    with closing(opened()) as inference:
        inference.set_enabled("panel", False)
        assert "panel" not in inference.infer(frame()).heads
        inference.set_enabled("panel", True)
        assert "panel" in inference.infer(frame()).heads
        with pytest.raises(KeyError):
            inference.set_enabled("nose", True)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("width: 320", "width: 352", r"input says uint8\(1, 320, 352, 3\) .*; (backbone|fused).onnx takes .*"),
        ("layout: nhwc", "layout: nchw", r"input says uint8\(1, 3, 320, 320\) \(nchw\)"),
        (
            "features: [c8, c16]",
            "features: [c8, c16, c32]",
            r"backbone.features: no graph has the output 'c32'; found .*c8, c16",
        ),
        ("digits.onnx", "nowhere.onnx", r"nowhere.onnx: cannot be read: No such file or directory"),
        ("digits.onnx", "golden.npz", r"golden.npz: onnxruntime cannot load it: .*; expected an ONNX graph"),
        ("labels: [panel]", "labels: [panel, other]", r"heads.panel"),
    ],
)
def test_files_that_do_not_match_the_manifest_are_reported_in_one_line(changed, old, new, message):
    folder = changed((old, new))
    with pytest.raises(ModelError, match=message) as caught:
        opened(folder)
    assert "\n" not in str(caught.value)


def test_a_graph_with_other_inputs_is_rejected(changed):
    folder = changed()
    graph = onnx.load(folder / "digits.onnx")
    for node in graph.graph.node:
        node.input[:] = ["c4" if name == "c8" else name for name in node.input]
    graph.graph.input[0].name = "c4" if graph.graph.input[0].name == "c8" else graph.graph.input[0].name
    onnx.save(graph, folder / "digits.onnx")
    with pytest.raises(ModelError, match=r"heads.digits.inputs: found c8, c16; its graph takes c4, c16"):
        opened(folder)


def test_a_truncated_graph_is_rejected(changed):
    folder = changed()
    whole = (folder / "backbone0.onnx").read_bytes()
    (folder / "backbone0.onnx").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ModelError, match=r"backbone0.onnx: onnxruntime cannot load it"):
        opened(folder)


def test_external_data_is_rejected(changed, monkeypatch):
    """A graph that names another file could read anything on the device, by default below the current folder."""
    folder = changed()
    graph = onnx.load(folder / "scene.onnx")
    onnx.save(graph, folder / "scene.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    monkeypatch.chdir(folder)
    with pytest.raises(ModelError, match=r"scene.onnx: keeps weights in another file; expected one file"):
        opened(folder)


def test_auto_selects_an_available_backend():
    with closing(open_backend(manifest.load(DIGITS), ModelConfig(DIGITS))) as backend:
        assert backend.target == "onnx"


def test_a_missing_library_is_named_with_its_package():
    with pytest.raises(ConfigError, match=r"backends 'rknn_lite' needs the library rknnlite; expected: pip install"):
        open_backend(manifest.load(DIGITS), ModelConfig(DIGITS, "rknn_lite"))


def with_logits_as_scores(**options) -> Inference:
    """The shipped model, but the classes' logits are read as probabilities."""
    loaded = manifest.load(DIGITS)
    given = {name: dict(spec.options) for name, spec in loaded.heads.items()}
    given["scene"]["activation"] = "none"
    return Inference(loaded, Backend(), {name: HeadConfig(HeadCommon(), given[name]) for name in given}, **options)


def test_a_head_whose_scores_are_no_probabilities_is_a_fault():
    with closing(with_logits_as_scores(tolerant=True)) as inference:
        for number in range(3):
            assert inference.infer(frame(number)).heads.keys() == {"digits", "panel"}
        assert inference.enabled() == {"digits": True, "panel": True, "scene": False}
        (error,) = inference.failed().values()
        assert re.match(r"ModelError: heads\.scene \(family classify\): found a score of .*; expected prob", error)


def test_scores_that_are_no_probabilities_end_a_replay_and_fail_check():
    with closing(with_logits_as_scores()) as inference:
        with pytest.raises(ModelError, match=r"heads\.scene \(family classify\): found a score of"):
            inference.infer(frame())
        with pytest.raises(ModelError, match=r"heads\.scene \(family classify\): found a score of"):
            inference.check_decoders(frame().pixels[None])
