"""The converter's worker, with a converter that fails in its own optimization rules."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import ClassVar

import pytest

from edge_app.compiler import rknn_worker

TRACEBACK = """Traceback (most recent call last):
  File "rknn/api/graph_optimizer.py", line 2221, in rknn.api.graph_optimizer.GraphOptimizer.fuse_ops
  File "rknn/api/rules/matmul.py", line 1539, in rknn.api.rules.matmul._p_fuse_exmatmul_to_{}
IndexError: list index out of range"""


def failing(monkeypatch, rules):
    """A converter that fails in each of `rules` until it is disabled. Returns the disabled rules of every attempt."""
    attempts = []

    def convert(job):
        attempts.append(list(job["disabled_rules"]))
        for rule in rules:
            if f"fuse_exmatmul_to_{rule}" not in job["disabled_rules"]:
                raise ValueError(TRACEBACK.format(rule))
        return {"y": ([0.0], [1.0])}

    monkeypatch.setattr(rknn_worker, "convert", convert)
    return attempts


def test_converts_again_without_the_rules_that_fail(monkeypatch):
    attempts = failing(monkeypatch, ["sdpa", "attention"])
    assert rknn_worker.convert_without_broken_rules({}) == {"y": ([0.0], [1.0])}
    assert attempts == [[], ["fuse_exmatmul_to_sdpa"], ["fuse_exmatmul_to_sdpa", "fuse_exmatmul_to_attention"]]


def test_a_rule_that_fails_although_it_is_disabled_is_an_error(monkeypatch):
    monkeypatch.setattr(rknn_worker, "failed_rule", lambda message: "always")
    failing(monkeypatch, ["sdpa"])
    with pytest.raises(ValueError, match="list index out of range"):
        rknn_worker.convert_without_broken_rules({})


def test_gives_up_after_some_rules(monkeypatch):
    attempts = failing(monkeypatch, [f"rule{i}" for i in range(20)])
    with pytest.raises(ValueError, match="list index out of range"):
        rknn_worker.convert_without_broken_rules({})
    assert len(attempts) == 9


def test_another_failure_is_not_repeated():
    assert rknn_worker.failed_rule("ValueError: opset 20") is None


class Converter:
    """Stands for rknn.api.RKNN: every call succeeds and is recorded."""

    calls: ClassVar[dict[str, dict]] = {}

    def __init__(self, verbose):
        self.calls.clear()

    def __getattr__(self, name):
        return lambda *arguments, **options: self.calls.update({name: options}) or 0


@pytest.mark.parametrize(("precision", "dtype", "quantized"), [
    ("int8", None, True), ("int16", "w16a16i_dfp", True), ("float16", None, False),
])  # fmt: skip
def test_passes_the_precision_to_the_converter(monkeypatch, precision, dtype, quantized):
    api = ModuleType("rknn.api")
    api.RKNN = Converter
    monkeypatch.setitem(sys.modules, "rknn", ModuleType("rknn"))
    monkeypatch.setitem(sys.modules, "rknn.api", api)
    job = dict.fromkeys(("mean", "std", "ranges", "feeds", "onnx", "out"))
    rknn_worker.convert_without_broken_rules({**job, "target": "rv1106", "dataset": "d.txt", "precision": precision})
    assert Converter.calls["config"].get("quantized_dtype") == dtype
    assert Converter.calls["build"] == {"do_quantization": quantized, "dataset": "d.txt" if quantized else None}
