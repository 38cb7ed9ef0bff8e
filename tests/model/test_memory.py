"""memory: what the plan counts, when it does not fit, and how check reports it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app import cli
from edge_app.errors import ConfigError
from edge_app.model import memory
from edge_app.model.manifest import Manifest, ManifestHead
from edge_app.model.memory import MIB
from edge_app.model.schema import Backbone, FixedShape, FixedShapes, Input, Memory
from tests.compiler.graphs import classifier

GRAPHS = {"rv1106": "backbone.rv1106.rknn"}


def manifest(**changes) -> Manifest:
    heads = {"a": ManifestHead("a", "classify", (), (320, 320), ("c8",), {"rv1106": "a.rv1106.rknn"})}
    figures = {"backbone.rv1106.rknn": Memory(2 * MIB, 3 * MIB), "a.rv1106.rknn": Memory(MIB, MIB)}
    backbone = Backbone((GRAPHS,), ("c8",))
    return replace(Manifest(Path("m"), "m", Input(320, 320), heads, backbone, {}, {}, figures), **changes)


def planned(board="rv1106g3", size=(1920, 1080), process=30 * MIB, **changes) -> memory.MemoryPlan:
    return memory.plan(manifest(**changes), memory.board(board), size, process)


def test_counts_every_item_once():
    budget = planned()
    frames = memory.FRAMES * 1920 * 1080 * 3 // 2
    assert budget.required("cma") == 7 * MIB + 320 * 320 * 3 + frames
    assert budget.required("ram") == 24 * MIB + 30 * MIB + 1920 * 1080 * 3
    assert budget.fits
    assert budget.unknown == ()


def test_a_board_without_cma_counts_npu_memory_as_ram():
    budget = planned("rk3588")
    assert budget.pools() == ("ram",)
    assert "no graph for rk3588" in budget.unknown[0]


def test_a_model_that_is_too_large_for_cma_does_not_fit():
    budget = planned(memory={"backbone.rv1106.rknn": Memory(60 * MIB, 3 * MIB), "a.rv1106.rknn": Memory(MIB, MIB)})
    assert not budget.fits
    assert budget.margin("cma") < 0 < budget.margin("ram")
    assert any("MISSING of 66.0 on rv1106g3" in line for line in budget.lines())
    assert any("60.0 MiB cma  backbone.rv1106.rknn: weights" in line for line in budget.lines())


def test_a_process_that_is_too_large_does_not_fit():
    assert not planned("rv1103", process=40 * MIB).fits


def test_adds_items_of_other_packages():
    extra = (memory.PlanItem("feature cache", 5 * MIB, "ram"),)
    budget = memory.plan(manifest(), memory.board("rv1106g3"), (640, 480), 30 * MIB, extra)
    assert budget.items[-1] == extra[0]


def test_counts_every_fixed_shape_if_reuse_computes_parts():
    sizes = {"b0.rknn": (320, 320), "b0.96x96.rknn": (96, 96), "a.rv1106.rknn": (320, 320), "a.96x96.rknn": (96, 96)}
    first, second, third, fourth = (FixedShape(*size, name) for name, size in sizes.items())
    fixed = FixedShapes(((first, second),), {"a": (third, fourth)})
    heads = manifest().heads | {"b": ManifestHead("b", "classify", (), (320, 320), ("c8",), {"rv1106": "b.rknn"})}
    figures = manifest().memory | dict.fromkeys([*sizes, "b.rknn"], Memory(MIB, MIB))
    model = manifest(heads=heads, shapes={"rv1106": fixed}, memory=figures)
    plain, parts = (
        memory.plan(model, memory.board("rv1106g3"), (640, 480), 30 * MIB, parts=parts) for parts in (False, True)
    )
    assert parts.required("cma") - plain.required("cma") == (4 + 1) * 2 * MIB  # a head without shapes is loaded again
    assert any("b0.96x96.rknn: weights" in line for line in parts.lines())


def test_lists_what_could_not_be_counted():
    assert any(
        "backbone.rv1106.rknn: its NPU memory is not in the manifest" in text for text in planned(memory={}).unknown
    )
    assert any("could not be started" in text for text in planned(process=None).unknown)


def test_an_unknown_board_is_an_error_with_the_nearest_or_the_known_ones():
    with pytest.raises(ConfigError, match=r"--board: found 'rv1107'; did you mean 'rv1106' \(rv1106g2\)\?"):
        memory.board("rv1107")
    with pytest.raises(
        ConfigError, match="--board: found 'amd64'; expected one of: rv1103, rv1106g2, rv1106g3, rv1126b"
    ):
        memory.board("amd64")


def test_a_board_has_the_memory_of_the_table_by_name_and_by_alias():
    found = memory.board("Luckfox Pico Max")
    assert found == memory.Board("rv1106g3", "rv1106", 186_384 * 1024, 66 * MIB, 24 * MIB)


def test_measures_the_process():
    found = memory.measure_process()
    assert found is not None
    assert 8 * MIB < found < 120 * MIB


def test_reads_this_board_from_meminfo(tmp_path):
    path = tmp_path / "meminfo"
    path.write_text("MemTotal:         186384 kB\nMemAvailable:     150000 kB\nCmaTotal:          67584 kB\n")
    found = memory.this_board("rv1106", path)
    assert (found.usable, found.cma, found.system) == (186384 * 1024, 66 * MIB, 36384 * 1024)
    path.write_text("nothing\n")
    assert memory.this_board("rv1106", path) is None


def test_check_rejects_a_model_that_does_not_fit_and_lists_the_items(tmp_path, config_file, capsys):
    model = tmp_path / "m"
    model.mkdir()
    classifier(model / "a.onnx")
    (model / "a.rknn").write_bytes(b"RKNN")
    (model / "model.yaml").write_text(
        "format: 1\nname: m\ninput: {width: 64, height: 64}\n"
        "heads: {a: {family: classify, graph: {onnx: a.onnx, rv1103: a.rknn}}}\n"
        "memory: {a.rknn: {weights: 30000000, internal: 1000000}}\n"
    )
    config = config_file(f"source: {{type: synthetic}}\nmodel: {{path: {model}, backend: onnx}}\n")
    assert cli.main(["check", "-c", str(config), "--board", "rv1103"]) == 2
    table = capsys.readouterr().out
    assert "28.6 MiB cma  a.rknn: weights" in table
    assert "MISSING of 24.0 on rv1103" in table
    assert cli.main(["check", "-c", str(config)]) == 0


RUN = """
import json, sys
import cv2, numpy
before = set(sys.modules)  # older versions of numpy load all of their modules
from edge_app import cli
assert cli.main(["run", "-c", sys.argv[1], "--max-frames", "12"]) == 0
print(json.dumps(sorted(set(sys.modules) - before)))
"""
UNUSED = (
    "numpy.ma", "numpy.random", "numpy.fft", "numpy.polynomial", "asyncio", "aiohttp", "jsonschema", "onnx", "tqdm",
    "multiprocessing", "tarfile", "edge_app.bench", "edge_app.cli.check", "edge_app.compiler", "edge_app.web",
)  # fmt: skip


def test_a_daemon_loads_no_module_that_it_does_not_use(config_file):
    """Includes the modules that numpy loads lazily: numpy.ma takes 1.6 MB."""
    path = config_file("""
        device: {id: cam, state_dir: state}
        source: {type: video, path: PROJECT/models/digits/sample.mp4, pace: fast}
        model: {path: PROJECT/models/digits, backend: onnx}
        reuse: {mode: auto}
        track: {head: digits, mix_classes: true}
        rules: [{name: meter, type: reading, heads: [digits, panel]}, {name: camera, type: scene, head: scene}]
        publish: {results: all, status_every_s: 0.01}
        sinks: [{type: jsonl, path: out.jsonl}]
    """)
    done = subprocess.run([sys.executable, "-c", RUN, str(path)], capture_output=True, text=True, check=True)
    assert (path.parent / "out.jsonl").read_text(encoding="utf-8").count('"kind":"status"') > 1
    loaded = json.loads(done.stdout)
    assert "edge_app.reuse.planner" in loaded
    assert [name for name in UNUSED if name in loaded] == []
