"""The state of a running pipeline: what it contains, and that nobody collects it without a sink that publishes it."""

import json

import pytest

from edge_app import config
from edge_app.daemon.present_state import PresentState
from edge_app.pipeline import build
from edge_app.pipeline.sensors import Reading
from tests.conftest import PROJECT

TEXT = f"""
device: {{id: cam-1, state_dir: state}}
source: {{type: video, path: {PROJECT}/models/digits/sample.mp4, pace: fast}}
model: {{path: {PROJECT}/models/digits}}
heads: {{digits: {{}}, panel: {{}}, scene: {{}}}}
track: {{head: digits}}
rules:
  - {{name: meter, type: reading, heads: [digits, panel]}}
  - {{name: many, type: count, head: digits, at_least: 2}}
sinks: []
"""


@pytest.fixture
def running(config_file):
    with build(config.load(config_file(TEXT)), replay=True) as pipeline:
        yield pipeline


def collect(running, frames=1):
    state = PresentState()
    for _ in range(frames):
        state.update(running, running.step(), Reading(45.04, 100.0, 80.2, 200.0))
        state._next_s = 0.0
    return {topic: json.loads(payload) for topic, payload in running.board.payloads.items()}


def test_every_rule_and_head_and_the_device_have_a_state(running):
    running.board.open()
    found = collect(running, frames=30)
    assert list(found) == [
        "camera", "device", "heads/digits", "heads/panel", "heads/scene", "rules/meter", "rules/many",
    ]  # fmt: skip
    assert found["heads/digits"]["count"] == sum(found["heads/digits"]["labels"].values()) > 0
    assert found["heads/scene"]["label"] == "ok"
    assert 0 < found["heads/digits"]["score"] < 1, "the default of its family"
    assert found["rules/many"]["reached"] == (found["rules/many"]["count"] >= 2)
    assert (found["device"]["temperature_c"], found["device"]["memory_mb"]) == (45, 80)
    assert found["camera"]["problem"] is False


def test_a_rule_that_is_switched_off_is_not_active(running):
    running.board.open()
    collect(running)
    running.set_enabled("many", False)
    assert collect(running)["rules/many"] == {
        "enabled": False, "active": False, "count": 0, "reached": False, "labels": {},
    }  # fmt: skip


def test_nothing_is_collected_without_a_sink_that_publishes_it(running):
    assert collect(running) == {}
