"""The programs that convert and run graphs for ncnn: how their absence and their failures are reported."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from edge_app import cli
from edge_app.compiler import pnnx
from edge_app.compiler.net import Net, Node, Value
from edge_app.errors import ConfigError, ModelError
from tests.compiler.graphs import segmenter
from tests.conftest import PROJECT

MODEL = PROJECT / "tests/backends/ncnn_model"
RELU = Net("r", 13, [Value("x", "float32", (1, 3, 4, 4))], ["y"], [Node("Relu", ["x"], ["y"])], {})


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_a_missing_program_is_reported_before_anything_is_read(tmp_path, capsys):
    arguments = ["--target", "ncnn", "--pnnx", str(tmp_path / "none"), "--out", str(tmp_path / "out")]
    assert cli.main(["compile", str(segmenter(tmp_path / "a.onnx")), *arguments]) == 2
    expected = f"{tmp_path / 'none'}: found no pnnx; create it with: edge-app compile --setup-pnnx {tmp_path / 'none'}"
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_engine_is_named_with_its_extra(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"needs the library ncnn .*; expected: pip install 'ncnn"):
        pnnx.program(tmp_path)


@pytest.mark.parametrize(
    ("target", "expected"), [("nccn", "did you mean 'ncnn'?"), ("xyzzy", "expected one of: onnx, int8, ncnn, rv1103,")]
)
def test_an_unknown_target_is_reported_with_the_known_ones(tmp_path, capsys, target, expected):
    assert cli.main(["compile", "a.onnx", "--target", target, "--out", str(tmp_path / "out")]) == 2
    assert f"--target: found '{target}'; {expected}" in capsys.readouterr().err


def test_a_folder_that_cannot_hold_an_environment_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert cli.main(["compile", "--setup-pnnx", str(tmp_path / "file/env")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2  # what it starts, and why it failed
    assert "no environment could be created there" in lines[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kill -SEGV $$", "r for ncnn: pnnx failed: Segmentation fault: no message"),
        ("echo 'bad model' >&2; exit 3", "r for ncnn: pnnx failed: bad model"),
        ("exit 0", "r for ncnn: pnnx failed: no message"),
    ],
)
def test_a_converter_that_fails_is_one_line(tmp_path, text, message):
    with pytest.raises(ModelError) as caught:
        pnnx.convert("r", RELU, script(tmp_path / "pnnx", text), tmp_path)
    assert str(caught.value) == message


def test_operations_that_the_converter_left_are_reported(tmp_path):
    text = "echo 'todo TopK'; echo 'todo Mod'; echo 'todo TopK'; echo 7767517 > graph.param; : > graph.bin"
    converted = pnnx.convert("r", RELU, script(tmp_path / "pnnx", text), tmp_path)
    assert converted.unsupported == ("TopK", "Mod")


@pytest.mark.skipif(importlib.util.find_spec("ncnn") is None, reason="needs the extra ncnn")
def test_runs_a_graph_in_another_process(tmp_path):
    for name in ("small.ncnn.param", "small.ncnn.bin"):
        (tmp_path / name).write_bytes((MODEL / name).read_bytes())
    c8 = np.random.default_rng(0).random((1, 16, 12, 12), np.float32)
    run = pnnx.run("small", tmp_path / "small.ncnn.param", [{"c8": c8}, {"c8": c8 * 0}])
    assert [row["map"].shape for row in run.outputs] == [(1, 3, 12, 12)] * 2
    assert not np.array_equal(run.outputs[0]["map"], run.outputs[1]["map"])
    text = (tmp_path / "small.ncnn.param").read_text()
    (tmp_path / "small.ncnn.param").write_text(text.replace("0 1 in0", "0 1 in9"))
    with pytest.raises(ModelError, match=r"small for ncnn: cannot be run: .*not a graph of ncnn") as caught:
        pnnx.run("small", tmp_path / "small.ncnn.param", [{"c8": c8}])
    assert "\n" not in str(caught.value)
