"""model_check: a model that cannot answer is one finding, and does not harm the process that checks it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from edge_app import config
from edge_app.cli import model_check
from edge_app.cli.findings import Finding
from edge_app.errors import ConfigError
from tests.plugins import readmes

MODEL = """format: 1
name: hostile
input: {width: 64, height: 48}
heads:
  kind: {family: FAMILY, graph: {onnx: a.onnx}, labels: [cat, dog]}
"""
CONFIG = "source: {type: synthetic}\nmodel: {path: ., backend: onnx}\nreuse: {mode: off}\n"
IMAGE = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 48, 64])
SCORES = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])


def write(folder: Path, nodes: list, outputs: list, weights: dict[str, np.ndarray], family: str = "classify") -> Path:
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "g", [IMAGE], outputs, tensors)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "a.onnx")
    (folder / "model.yaml").write_text(MODEL.replace("FAMILY", family), encoding="utf-8")
    (folder / "config.yaml").write_text(CONFIG, encoding="utf-8")
    return folder / "config.yaml"


def mean(result: str = "scores") -> list:
    return [
        helper.make_node("ReduceMean", ["image"], ["m"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Reshape", ["m", "column"], ["r"]),
        helper.make_node("Concat", ["r", "r"], [result], axis=1),
    ]


COLUMN = {"column": np.array([1, 1])}


def without_outputs(folder: Path) -> Path:
    return write(folder, mean(), [], COLUMN)


def huge(folder: Path) -> Path:
    """Expands one value to 256 GB."""
    nodes = [
        *mean("small"),
        helper.make_node("Slice", ["small", "zero", "one", "one"], ["first"]),
        helper.make_node("Expand", ["first", "size"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["top"], axes=[1], keepdims=1),
        helper.make_node("Concat", ["top", "top"], ["scores"], axis=1),
    ]
    weights = {"size": np.array([1, 64 << 30]), "zero": np.array([0]), "one": np.array([1])}
    return write(folder, nodes, [SCORES], weights | COLUMN)


def endless(folder: Path) -> Path:
    """Loops 2**62 times."""
    value = helper.make_tensor_value_info("v", TensorProto.FLOAT, [1, 2])
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["still"]), helper.make_node("Add", ["v", "v"], ["w"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            value,
        ],
        [
            helper.make_tensor_value_info("still", TensorProto.BOOL, []),
            helper.make_tensor_value_info("w", TensorProto.FLOAT, [1, 2]),
        ],
    )
    nodes = [*mean("small"), helper.make_node("Loop", ["count", "true", "small"], ["scores"], body=body)]
    return write(folder, nodes, [SCORES], {"count": np.array(1 << 62), "true": np.array(True)} | COLUMN)


def findings(path: Path, timeout_s: float = 20.0) -> list[Finding]:
    found = model_check.run(config.load(path), timeout_s)
    assert all("\n" not in finding.text for finding in found)
    return found


def test_a_model_that_answers_has_the_findings_of_both_areas(tmp_path):
    path = write(tmp_path, mean(), [SCORES], COLUMN)
    path.write_text(CONFIG.replace("off", "gate"), encoding="utf-8")
    found = findings(path)
    assert [(each.area, each.verdict) for each in found] == [("model", "ok"), ("golden", "warn"), ("reuse", "ok")]


@pytest.mark.parametrize("model", [without_outputs, huge], ids=lambda each: each.__name__)
def test_a_model_that_cannot_answer_fails(tmp_path, model):
    (found,) = findings(model(tmp_path))
    assert (found.area, found.verdict) == ("model", "fail")


def test_a_model_that_never_answers_fails_after_the_time_limit(tmp_path):
    path = endless(tmp_path)
    started_s = time.monotonic()
    (found,) = findings(path, timeout_s=3.0)
    assert time.monotonic() - started_s < 10
    assert found == Finding("model", "fail", f"{tmp_path}: found no result within 3 s; expected a model that answers")


HEAD = """
import os, signal, sys
from edge_app.heads.classify import Head as Classify

class Head(Classify):
    def decode(self, *arguments):
        print("printed by a library", flush=True)
        ENDING
"""


@pytest.mark.parametrize(
    ("ending", "found"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "the process that ran the model ended: Segmentation fault"),
        ("os.kill(os.getpid(), signal.SIGKILL)", "the process that ran the model ended: Killed (out of memory?)"),
        ("os.write(2, b'terminate called\\n'); os.abort()", "the process that ran the model ended: Aborted"),
        ("raise OverflowError(7)", "OverflowError"),
        ("bytearray(64 << 30)", "takes more than"),
        ("os._exit(3)", "the process that ran the model failed"),
    ],
)
def test_a_head_that_ends_the_process_is_one_finding(tmp_path, ending, found):
    installed = tmp_path / "installed"
    code = HEAD.replace("ENDING", ending)
    readmes.install(installed, "crash", "crash_head", code, "[edge_app.heads]\ncrash = crash_head:Head\n")
    path = write(tmp_path, mean(), [SCORES], COLUMN, family="crash")
    done = readmes.edge_app(installed, "check", "-c", path, "--json")
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    failed = [each for each in json.loads(done.stdout)["findings"] if each["verdict"] == "fail"]
    assert [each["what"] for each in failed] == ["model"]
    assert found in failed[0]["text"]
    assert "\n" not in failed[0]["text"]


@pytest.mark.parametrize("threads", [0, 65, 100_000])
def test_rejects_too_many_threads(tmp_path, threads):
    path = write(tmp_path, mean(), [SCORES], COLUMN)
    path.write_text(CONFIG.replace("backend: onnx", f"backend: onnx, threads: {threads}"), encoding="utf-8")
    with pytest.raises(ConfigError, match=f"model.threads: found '{threads}'; expected a whole number 1 to 64"):
        config.load(path)


def test_64_threads_fit_into_the_memory_limit(tmp_path):
    path = write(tmp_path, mean(), [SCORES], COLUMN)
    path.write_text(CONFIG.replace("backend: onnx", "backend: onnx, threads: 64"), encoding="utf-8")
    assert [each.verdict for each in findings(path)] == ["ok", "warn"]
