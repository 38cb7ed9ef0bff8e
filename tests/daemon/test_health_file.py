"""The health file: `healthy` requires frames, every head, golden vectors, and a sink's acknowledgment."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from edge_app import config as configs
from edge_app import daemon, pipeline
from edge_app.daemon.health_file import MIN_FRAMES, HealthFile, failed_update, release_status
from edge_app.errors import ConfigError, EdgeError
from tests.conftest import PROJECT

CONFIG = """
device: {{id: cam-1, state_dir: {state}, commit_sink: "{sink}"}}
source: {{type: synthetic}}
model: {{path: {model}, backend: onnx}}
sinks:
  - {{type: memory}}
"""


@pytest.fixture
def write(tmp_path):
    def write(model=PROJECT / "models/digits", sink="memory"):
        path = tmp_path / "config.yaml"
        path.write_text(CONFIG.format(state=tmp_path / "state", model=model, sink=sink))
        return configs.load(path)

    return write


def report(path):
    return json.loads(path.read_text())


def test_a_release_that_processes_frames_is_healthy(write, tmp_path):
    health = tmp_path / "health.json"
    daemon.run(write, max_frames=60, health_file=health)
    assert report(health)["verdict"] == "healthy"


def test_waits_until_enough_frames_were_processed(write, tmp_path):
    health = tmp_path / "health.json"
    with HealthFile(health) as report_file, pipeline.build(write()) as running:
        frame = None
        while frame is None:
            frame = running.step()
        report_file._next_write_s = 0.0
        report_file.update([running], frame)
    assert report(health)["verdict"] == "waiting"
    assert f"1 frames of {MIN_FRAMES}" in report(health)["reason"]


def test_a_model_whose_golden_vectors_differ_has_failed(write, tmp_path):
    model = tmp_path / "digits"
    shutil.copytree(PROJECT / "models/digits", model, ignore=shutil.ignore_patterns("sample*"))
    with np.load(model / "golden.npz") as file:
        vectors = {name: file[name] for name in file.files}
    name = next(name for name in vectors if name != "image" and ":" not in name)
    vectors[name] = vectors[name] + 1
    np.savez(model / "golden.npz", **vectors)
    text = (model / "model.yaml").read_text()
    (model / "model.yaml").write_text(text[: text.index("\nsha256:")] + "\n")
    health = tmp_path / "health.json"
    daemon.run(lambda: write(model), max_frames=60, health_file=health)
    assert report(health)["verdict"] == "failed"
    assert "golden" in report(health)["reason"]


def test_the_exception_that_ends_the_run_is_the_reason(write, tmp_path):
    health = tmp_path / "health.json"
    with pytest.raises(EdgeError), HealthFile(health):
        raise ConfigError("config.yaml:1: wrong")
    assert report(health) == {"verdict": "waiting", "reason": "ConfigError: config.yaml:1: wrong", "writes": 2}


def test_rejects_an_unknown_commit_sink(write):
    with pytest.raises(ConfigError, match="no sink 'memroy'; did you mean 'memory'"):
        write(sink="memroy")


def test_writes_nothing_without_an_updater(write, tmp_path):
    daemon.run(write, max_frames=3)
    assert not list(tmp_path.glob("*.json*"))


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"trial": None, "good": "1", "failed": None}, {"running": "1", "on_trial": False, "failed": None}),
        (
            {"trial": {"release": "2"}, "good": "1", "failed": {"release": "3", "reason": "r"}},
            {"running": "2", "on_trial": True, "failed": {"release": "3", "reason": "r"}},
        ),
    ],
)
def test_the_heartbeat_names_the_running_release(tmp_path, state, expected):
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert release_status(tmp_path / "state.json") == {"release": expected}


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_an_unreadable_release_file_yields_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    assert release_status(tmp_path / "state.json") == {}


def test_a_release_that_was_rolled_back_is_the_fault_of_an_update():
    failed = {"release": "r2\n", "reason": "no frames"}
    about = {"release": {"running": "r1", "on_trial": False, "failed": failed}}
    assert failed_update(about) == {"release": "r2 ", "error": "no frames"}


@pytest.mark.parametrize("about", [{}, {"release": None}, {"release": {"failed": None}}, {"release": {"failed": "x"}}])
def test_without_a_failed_update_there_is_no_fault(about):
    assert failed_update(about) is None
