"""30,000 frames with random faults: nothing grows, clock steps do no harm. soak.py is the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.conftest import PROJECT
from tests.running import unended

pytestmark = [
    pytest.mark.system,
    pytest.mark.alone,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount a small disk"),
]

FRAMES = int(os.environ.get("EDGE_APP_SOAK_FRAMES", "30000"))
TEXT = """
device: {id: cam, state_dir: STATE}
source: {type: mischief, width: 64, height: 48, fps: 800, live: true, noise: 1}
model: {path: MODEL, backend: mischief, deadline_s: 5}
heads: {scene: {}}
rules: [{name: camera, type: scene, head: scene, ok: good, after_s: 0, clear_s: 0, min_score: 0}]
publish: {results: 0.05, status_every_s: 1}
outbox: {max_mb: 1, max_memory_mb: 0.5}
sinks:
  - {type: jsonl, path: OUT, max_mb: null}
  - {type: mqtt, host: 127.0.0.1, port: 1}
"""


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 3 MB."""
    folder = tmp_path / "state"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "edge-app-test", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def tiny_model(folder: Path) -> Path:
    """A very cheap model: the mean of a 32x32 image, always classified as `bad`."""
    folder.mkdir()
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 2])
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[2, 3], keepdims=0),
        helper.make_node("MatMul", ["mean", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["scores"]),
    ]
    constants = [
        numpy_helper.from_array(np.zeros((3, 2), np.float32), "weights"),
        numpy_helper.from_array(np.array([[0, 1]], np.float32), "bias"),
    ]
    graph = helper.make_graph(nodes, "tiny", [image], [scores], constants)
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), folder / "scene.onnx"
    )
    (folder / "model.yaml").write_text(
        "format: 1\nname: tiny\n"
        "input: {width: 32, height: 32, layout: nchw, dtype: float32, mean: [0, 0, 0], std: [255, 255, 255]}\n"
        "heads:\n  scene: {family: classify, graph: {onnx: scene.onnx}, labels: [good, bad]}\n",
        encoding="utf-8",
    )
    return folder


def test_memory_descriptors_and_threads_do_not_grow_in_30000_frames_of_faults(tmp_path: Path, small_disk: Path):
    mischief = tmp_path / "mischief"
    mischief.write_text("good", encoding="ascii")
    text = TEXT.replace("MODEL", str(tiny_model(tmp_path / "model"))).replace("STATE", str(small_disk))
    text = text.replace("OUT", str(tmp_path / "out.jsonl"))
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tests.system.soak", str(tmp_path), str(FRAMES)],
        cwd=PROJECT,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "MISCHIEF": str(mischief)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    print(f"\n{seen}")
    lines = (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()
    events = [message for line in lines if (message := json.loads(line))["kind"] == "event"]
    first, *_, last = seen["measured"].values()
    assert min(seen["faults"].values()) >= FRAMES // 6000
    assert last["anonymous_mb"] - first["anonymous_mb"] <= 3
    assert last["threads"] == first["threads"]
    assert last["files"] == first["files"]
    assert seen["stuck"] == 0, "the watchdog would have been kept waiting"
    assert seen["retries"] < 200, "no storm of retries"
    assert unended(events) == set()
    assert all(event["end"] is None or event["end"] >= event["start"] for event in events)
