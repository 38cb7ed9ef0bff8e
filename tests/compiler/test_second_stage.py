"""compile --into: a model becomes the second stage of another model folder."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
import yaml

from edge_app import config
from edge_app.cli import main
from edge_app.compiler import second_stage
from edge_app.compiler.folder import write_manifest
from edge_app.compiler.second_stage import SecondStage
from edge_app.compiler.session import HostSession
from edge_app.errors import ConfigError
from edge_app.model import manifest
from tests.cli import people
from tests.compiler.graphs import Graph
from tests.conftest import PROJECT


@pytest.fixture
def folder(tmp_path):
    """A compiled folder: the shipped one, for onnxruntime only."""
    skipped = shutil.ignore_patterns("sample*", "README*", "*.rknn", "*.int8.onnx")
    shutil.copytree(PROJECT / "models/digits", tmp_path / "digits", ignore=skipped)
    write_manifest(tmp_path / "digits", onnx_only(tmp_path / "digits/model.yaml"))
    people.write_embedding(tmp_path / "colors.onnx")
    return tmp_path


def onnx_only(path):
    """The content of model.yaml without other targets."""
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("memory", "shapes", "precision", "sha256"):
        content.pop(name, None)

    def shortened(graphs):
        return {"onnx": graphs["onnx"]}

    content["backbone"]["graphs"] = [shortened(graphs) for graphs in content["backbone"]["graphs"]]
    content["fused"] = shortened(content["fused"])
    for head in content["heads"].values():
        head["graph"] = shortened(head["graph"])
        for segment in head.get("segments", ()):
            segment["graph"] = shortened(segment["graph"])
    return content


def run(folder, *arguments):
    return main(
        ["compile", str(folder / "colors.onnx"), "--family", "embed", "--into", str(folder / "digits"), *arguments]
    )


@pytest.mark.system
def test_the_model_becomes_a_head_on_crops(folder, capsys):
    before = manifest.load(folder / "digits")
    assert run(folder, "--crops-of", "digits", "--name", "color") == 0
    assert "added             head color, on crops of digits (box)" in capsys.readouterr().out
    found = manifest.load(folder / "digits")
    assert [*found.heads] == [*before.heads, "color"]
    crops = found.heads["color"].crops
    assert (crops.of, crops.align, crops.input.width, crops.input.dtype) == ("digits", "box", 112, "uint8")
    assert set(found.sha256) == {*before.sha256, "color.onnx"}
    (folder / "config.yaml").write_text(
        f"source: {{type: video, path: {PROJECT / 'models/digits/sample.mp4'}}}\nmodel: {{path: digits}}\n"
        f"device: {{state_dir: {folder / 'state'}}}\n",
        encoding="utf-8",
    )
    assert main(["check", "-c", str(folder / "config.yaml")]) == 0
    out = folder / "out.jsonl"
    clip = str(PROJECT / "models/digits/sample.mp4")
    assert main(["replay", clip, "-c", str(folder / "config.yaml"), "--out", str(out)]) == 0
    results = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    seen = [d["heads"]["color"]["embedding"] for r in results if r["kind"] == "result"
            for d in r["heads"]["digits"]["detections"] if "heads" in d]  # fmt: skip
    assert seen
    assert len(seen[0]) == 48
    assert config.load(folder / "config.yaml").heads["color"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--crops-of", "digit"], "has no head 'digit'; did you mean 'digits'"),
        (["--crops-of", "digits", "--name", "scene"], "has a head 'scene' already; expected another name"),
        ([], "--into: expected one model, --crops-of HEAD, and no --out"),
        pytest.param(
            ["--crops-of", "digits", "--align", "face5"],
            "found face5, but 'digits' (family digits) finds no landmarks",
            marks=pytest.mark.system,
        ),
        pytest.param(["--crops-of", "scene"], "'scene' finds no boxes", marks=pytest.mark.system),
    ],
)
def test_mistakes_are_one_line_and_change_nothing(folder, capsys, arguments, problem):
    before = {path.name: path.read_bytes() for path in (folder / "digits").iterdir()}
    assert run(folder, *arguments) == 2
    assert problem in capsys.readouterr().err.splitlines()[-1]
    assert {path.name: path.read_bytes() for path in (folder / "digits").iterdir()} == before


TARGETS = ("onnx", "int8", "ncnn", "rv1106", "rk3588")
COLORS = """\
format: 1
name: colors
input: {width: 112, height: 112, color: bgr, std: [1, 1, 1]}
heads: {colors: {family: embed, graph: {onnx: colors.onnx}}}
"""


def test_a_compiled_model_is_added_with_its_files_and_hashes(folder):
    (folder / "compiled").mkdir()
    (folder / "compiled/model.yaml").write_text(COLORS, encoding="utf-8")
    shutil.copy(folder / "colors.onnx", folder / "compiled")
    before = manifest.load(folder / "digits")
    stage = SecondStage(folder / "digits", "digits", name="color")
    assert second_stage.attach(folder / "compiled", stage, second_stage.check(stage, TARGETS, force=False)) == "color"
    found = manifest.load(folder / "digits")
    assert [*found.heads] == [*before.heads, "color"]
    assert found.heads["color"].graph == {"onnx": "color.onnx"}
    assert found.heads["color"].crops.input == manifest.load(folder / "compiled").input
    assert {**before.sha256, "color.onnx": found.sha256["color.onnx"]} == dict(found.sha256)
    with pytest.raises(ConfigError, match="has a head 'color' already"):
        second_stage.check(stage, TARGETS, force=False)
    with pytest.raises(ConfigError, match=r"has a head 'color' already; expected --name NAME"):
        second_stage.attach(folder / "compiled", stage, None)


def test_a_target_of_the_folder_that_the_new_head_would_lack_is_named(tmp_path):
    shutil.copytree(PROJECT / "models/digits", tmp_path / "digits", ignore=shutil.ignore_patterns("*.mp4"))
    stage = SecondStage(tmp_path / "digits", "digits")
    with pytest.raises(
        ConfigError, match=r"has graphs for int8, onnx, rk3588, rv1106; expected .*--target rk3588,rv1106"
    ):
        second_stage.check(stage, ("onnx", "int8"), force=False)
    with pytest.raises(ConfigError, match="expected the same for the new head: --calibrate"):
        second_stage.check(stage, ("onnx", "rv1106", "rk3588"), force=False)


def test_options_of_a_second_stage_need_its_folder(folder, capsys):
    assert main(["compile", str(folder / "colors.onnx"), "--out", str(folder / "new"), "--align", "face5"]) == 2
    assert "--align: found it without --into; expected --into FOLDER" in capsys.readouterr().err


@pytest.mark.system
def test_a_folder_that_was_edited_is_kept_as_a_backup(folder, capsys):
    path = folder / "digits/model.yaml"
    path.write_text("# mine\n" + path.read_text(encoding="utf-8").partition("\n")[2], encoding="utf-8")
    assert run(folder, "--crops-of", "digits", "--name", "color") == 2
    assert "--force" in capsys.readouterr().err
    assert run(folder, "--crops-of", "digits", "--name", "color", "--force") == 0
    assert "# mine" in (folder / "digits.backup/model.yaml").read_text(encoding="utf-8")
    assert "color" in yaml.safe_load(path.read_text(encoding="utf-8"))["heads"]


def test_the_batch_is_free_if_the_graph_computes_the_same_for_each_image(tmp_path):
    people.write_embedding(tmp_path / "a.onnx")
    assert second_stage.free_batch(tmp_path / "a.onnx")
    images = np.random.default_rng(0).uniform(0, 255, (5, 3, 112, 112)).astype(np.float32)
    together = HostSession((tmp_path / "a.onnx").read_bytes()).run(images)[0]
    people.write_embedding(tmp_path / "b.onnx")
    single = HostSession((tmp_path / "b.onnx").read_bytes())
    np.testing.assert_allclose(
        together, np.concatenate([single.run(images[i : i + 1])[0] for i in range(5)]), rtol=1e-5
    )


def test_a_reshape_with_a_fixed_batch_is_freed(tmp_path):
    g = Graph()
    pooled = g.node("GlobalAveragePool", g.conv("image", 3, 8))
    g.save(tmp_path / "a.onnx", {"y": g.reshape(pooled, 1, 8)})
    assert second_stage.free_batch(tmp_path / "a.onnx")
    assert len(HostSession((tmp_path / "a.onnx").read_bytes()).run(np.zeros((4, 3, 64, 64), np.float32))[0]) == 4


def test_a_graph_that_mixes_images_keeps_its_batch(tmp_path):
    g = Graph()
    mean = g.node("ReduceMean", "image", axes=[0, 2, 3], keepdims=0)
    g.save(tmp_path / "a.onnx", {"y": g.reshape(mean, 1, 3)})
    before = (tmp_path / "a.onnx").read_bytes()
    assert not second_stage.free_batch(tmp_path / "a.onnx")
    assert (tmp_path / "a.onnx").read_bytes() == before
    assert onnx.load(tmp_path / "a.onnx").graph.input[0].type.tensor_type.shape.dim[0].dim_value == 1
