"""The whole path once, in under 20 s: `pytest -m smoke`. Every command starts; one clip goes through every stage."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import cv2
import pytest

from edge_app import config, pipeline, registry
from tests.conftest import PROJECT

pytestmark = pytest.mark.smoke

CLIP = PROJECT / "models/digits/sample.mp4"
CONFIG = PROJECT / "config.yaml"
EVERYTHING = """
device: {id: smoke, state_dir: state}
source: {type: synthetic, name: door, width: 320, height: 240, fps: 30}
model: {path: PROJECT/models/digits}
heads: {digits: {score: 0.0}, panel: {}, scene: {}}
reuse: {mode: auto}
track: {head: digits, low: 0, high: 0, start: 0, mix_classes: true}
rules:
  - {name: meter, type: reading, heads: [digits, panel]}
  - {name: camera, type: scene, head: scene}
  - {name: all, type: count, head: digits, stable_s: 0}
publish: {results: all, status_every_s: 0.1}
sinks: [{type: jsonl, path: results.jsonl}]
"""


def edge_app(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_app", *map(str, arguments)]
    return subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)


def test_every_command_explains_itself():
    done = edge_app("--help")
    assert done.returncode == 0
    for command in ("run", "replay", "check", "status", "doctor", "outbox", "schema", "tune", "compile", "bench"):
        assert command in done.stdout


def test_a_clip_goes_through_every_stage(tmp_path: Path):
    out, drawn = tmp_path / "results.jsonl", tmp_path / "drawn.avi"
    done = edge_app("replay", CLIP, "--out", out, "--draw", drawn, "--max-frames", 120)
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    results = [message for message in messages if message["kind"] == "result"]
    assert len(results) == 120
    assert {"digits", "panel", "scene"} == set(results[0]["heads"])
    assert any(message["kind"] == "event" and message["rule"] == "meter" for message in messages)
    assert cv2.VideoCapture(str(drawn)).read()[0]


def test_the_default_configuration_passes_its_check():
    done = edge_app("check", "-c", CONFIG, "--json")
    assert done.returncode == 0, done.stdout
    assert json.loads(done.stdout)["ok"]


def test_a_live_source_is_published_through_the_outbox(config_file):
    loaded = config.load(config_file(EVERYTHING))
    out = loaded.path.parent / "results.jsonl"
    end_s = time.monotonic() + 15
    with pipeline.build(loaded) as running:
        while running.stats().frames < 20:
            assert time.monotonic() < end_s
            running.step(0.1)
    messages = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert {message["kind"] for message in messages} == {"result", "event", "status"}
    assert {message["source"] for message in messages if message["kind"] != "status"} == {"door"}


@pytest.mark.parametrize("kind", ["sources", "backends", "heads", "rules", "sinks"])
def test_every_plug_in_can_be_found_and_lists_its_options(kind: registry.Kind):
    assert registry.names(kind)
    for name in registry.names(kind):
        assert registry.find(kind, name)
        registry.options(kind, name)


def test_a_mistake_is_one_line_and_exit_code_2(tmp_path: Path):
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.read_text(encoding="utf-8").replace("pace:", "pase:"), encoding="utf-8")
    done = edge_app("check", "-c", path)
    assert done.returncode == 2
    assert "source: unknown option 'pase'; did you mean 'pace'?" in done.stderr
    assert "Traceback" not in done.stderr
