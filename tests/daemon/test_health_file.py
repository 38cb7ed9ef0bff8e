"""The health file: healthy only when frames came, heads ran, golden vectors passed and the named sink acknowledged."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from edge_app import config as configs
from edge_app import daemon, pipeline
from edge_app.daemon import health_file as proof
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


def test_a_release_that_sees_is_healthy(write, tmp_path):
    health = tmp_path / "health.json"
    daemon.run(write, max_frames=60, health_file=health)
    assert report(health)["verdict"] == "healthy"


def test_too_few_frames_are_not_enough(write, tmp_path):
    health = tmp_path / "health.json"
    with proof.Proof(health) as proving, pipeline.build(write()) as running:
        frame = None
        while frame is None:
            frame = running.step()
        proving._next_write_s = 0.0
        proving.turn(running, frame)
    assert report(health)["verdict"] == "waiting"
    assert f"1 frames of {proof.FRAMES}" in report(health)["reason"]


def test_a_model_that_computes_something_else_has_failed(write, tmp_path):
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


def test_what_ends_a_run_is_its_reason(write, tmp_path):
    health = tmp_path / "health.json"
    with pytest.raises(EdgeError), proof.Proof(health):
        raise ConfigError("config.yaml:1: wrong")
    assert report(health) == {"verdict": "waiting", "reason": "ConfigError: config.yaml:1: wrong", "writes": 2}


def test_the_sink_that_is_named_must_exist(write):
    with pytest.raises(ConfigError, match="no sink 'memroy'; did you mean 'memory'"):
        write(sink="memroy")


def test_without_an_updater_nothing_is_written(write, tmp_path):
    daemon.run(write, max_frames=3)
    assert not list(tmp_path.glob("*.json*"))


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"trial": None, "good": "1", "failed": None}, {"running": "1", "on_trial": False, "failed": None}),
        (
            {"trial": {"release": "2"}, "good": "1", "failed": {"release": "3", "reason": "r"}},
            {"running": "2", "on_trial": True, "failed": {"release": "3", "reason": "r"}},
        ),
    ],
)
def test_the_heartbeat_says_which_release_runs(tmp_path, state, told):
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert proof.release(tmp_path / "state.json") == {"release": told}


@pytest.mark.parametrize("text", [None, "", "[]", "{}"])
def test_a_release_file_that_cannot_be_read_says_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / "state.json").write_text(text)
    assert proof.release(tmp_path / "state.json") == {}
