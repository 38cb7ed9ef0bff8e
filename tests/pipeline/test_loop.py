"""The pipeline loop: order, overlap, reload, statistics."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app import config, pipeline
from edge_app.config import PluginConfig
from edge_app.errors import EndOfClip, SinkError
from tests.conftest import resident_bytes

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, frames: 20, pace: fast}
model: {path: PROJECT/models/digits, backend: onnx}
publish: {results: all, status_every_s: 0}
sinks: [{type: jsonl, path: results.jsonl}]
"""


@pytest.fixture
def settings(config_file) -> config.Config:
    return config.load(config_file(TEXT))


def results(settings: config.Config, name: str = "results.jsonl") -> list[dict]:
    return [json.loads(line) for line in (settings.path.parent / name).read_text(encoding="utf-8").splitlines()]


def run_out(running: pipeline.Pipeline) -> list[int]:
    """Step to the end of the clip. Returns the sequence numbers of all frames."""
    sequences = []
    try:
        while True:
            frame = running.step()
            if frame is not None:
                sequences.append(frame.sequence)
    except EndOfClip:
        return sequences


def test_a_replay_publishes_every_frame_in_order(settings):
    with pipeline.build(settings, replay=True) as running:
        assert run_out(running) == list(range(20))
        with pytest.raises(EndOfClip):
            running.step()
    published = results(settings)
    assert [message["frame"] for message in published] == list(range(20))
    assert [message["seq"] for message in published] == list(range(20))
    assert list(published[0]["heads"]) == ["digits", "panel", "scene"]


def test_two_replays_publish_the_same_bytes(settings):
    for _ in range(2):
        with pipeline.build(settings, replay=True) as running:
            run_out(running)
    path = settings.path.parent / "results.jsonl"
    whole = path.read_bytes()
    assert whole[: len(whole) // 2] == whole[len(whole) // 2 :]


def test_close_ends_all_threads(settings):
    before = threading.active_count()
    with pipeline.build(settings) as running:
        running.step()
    assert threading.active_count() == before


def test_stats_and_health(settings):
    with pipeline.build(settings, replay=True) as running:
        run_out(running)
        stats, health = running.stats(), running.health()
    assert stats.frames == 20
    assert stats.stages["inference"].calls == 20
    assert 0 < stats.stages["inference"].mean_ms < 1000
    assert health.heads == {"digits": True, "panel": True, "scene": True}
    assert health.backend.startswith("onnxruntime")
    assert health.last_frame_ns == running.stats().capture.last_frame_ns


def test_a_head_is_disabled_between_two_frames(settings):
    with pipeline.build(settings, replay=True) as running:
        running.step()
        running.set_enabled("panel", False)
        run_out(running)
    heads = [list(message["heads"]) for message in results(settings)]
    assert heads[0] == ["digits", "panel", "scene"]
    assert heads[-1] == ["digits", "scene"]


def test_a_reload_of_the_sinks_loses_no_frame(settings):
    other = settings.replaced(sinks=(PluginConfig("jsonl", {"path": settings.path.parent / "other.jsonl"}),))
    with pipeline.build(settings, replay=True) as running:
        for _ in range(5):
            running.step()
        running.apply(other)
        run_out(running)
    before, after = results(settings), results(settings, "other.jsonl")
    assert [message["frame"] for message in before + after] == list(range(20))
    assert len(before) in (5, 7)  # the frames in flight belong to the old configuration


def test_reloads_without_a_usable_disk_lose_no_message(settings):
    """Also a rejected one. Messages wait in memory for a sink that is not reachable."""
    (settings.path.parent / "state").write_text("not a folder", encoding="utf-8")
    unreachable = settings.replaced(sinks=(PluginConfig("http", {"url": "http://127.0.0.1:9/"}),))
    bad = settings.replaced(sinks=(PluginConfig("jsonl", {"path": Path("/nonexistent/results.jsonl")}),))
    with pipeline.build(unreachable) as running:
        running.step()
        with pytest.raises(SinkError):
            running.apply(bad)
        running.step()
        running.apply(settings)
        run_out(running)
    assert [message["frame"] for message in results(settings) if message["kind"] == "result"] == list(range(20))


def test_a_reload_rebuilds_only_changed_stages(settings):
    with pipeline.build(settings, replay=True) as running:
        running.step()
        model, source = running._inference._inference, running._capture
        running.apply(settings.replaced(publish=replace(settings.publish, results="none")))
        assert running._inference._inference is model
        assert running._capture is source


def test_a_failed_reload_keeps_the_old_configuration(settings):
    bad = settings.replaced(sinks=(PluginConfig("jsonl", {"path": Path("/nonexistent/results.jsonl")}),))
    with pipeline.build(settings, replay=True) as running:
        running.step()
        with pytest.raises(SinkError):
            running.apply(bad)
        assert running.config is settings
        run_out(running)
    assert [message["frame"] for message in results(settings)] == list(range(20))


def test_a_reload_can_change_the_source(settings):
    shorter = PluginConfig("synthetic", {**settings.source.plugin.options, "frames": 3}, "")
    with pipeline.build(settings, replay=True) as running:
        running.step()
        running.apply(settings.replaced(source=replace(settings.source, plugin=shorter)))
        assert len(run_out(running)) == 3


def test_heartbeats_are_published_at_the_configured_interval(config_file):
    text = TEXT.replace("status_every_s: 0", "status_every_s: 0.2").replace("frames: 20", "frames: 10, fps: 10")
    settings = config.load(config_file(text))
    with pipeline.build(settings) as running:
        run_out(running)
    statuses = [message["status"] for message in results(settings) if message["kind"] == "status"]
    assert len(statuses) == 5  # 10 frames at 10 a second, one status every 0.2 s
    assert statuses[-1]["heads"] == {"digits": True, "panel": True, "scene": True}


def test_memory_does_not_grow_with_uptime(config_file):
    """Resident memory between frame 200 and 1,200 of a cheap configuration: within 1 MB."""
    text = TEXT.replace("frames: 20", "frames: 1200").replace("width: 320, height: 240", "width: 64, height: 48")
    settings = config.load(config_file(text + "heads: {scene: {every_s: 1}}\n"))
    sizes = {}
    with pipeline.build(settings, replay=True) as running:
        for count in range(1, 1200):
            running.step()
            if count in (200, 1199):
                sizes[count] = resident_bytes()
    assert sizes[1199] - sizes[200] < 1e6


def test_inference_overlaps_with_publishing(settings):
    """The next frame is in inference while one is published: the worker is busy after a step."""
    with pipeline.build(settings) as running:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            running.step()
            if running._inference.busy:
                return
    pytest.fail("no frame was ever in inference when a step returned")


def test_every_message_names_the_configured_source(config_file):
    """Results, events of rules and of the runtime, and heartbeats."""
    text = TEXT.replace("frames: 20, pace: fast", "name: door, live: true, fps: 50, fail_at: 10")
    text = text.replace("status_every_s: 0", "status_every_s: 0.1")
    text += "rules: [{name: bright, type: scene, head: scene, ok: dark, after_s: 0, min_score: 0}]\n"
    settings = config.load(config_file(text))
    deadline = time.monotonic() + 30
    with pipeline.build(settings) as running:
        while not any(event.value.get("fault") == "camera" for event in running.recent_events):
            assert time.monotonic() < deadline
            running.step(timeout_s=0.05)
    messages = results(settings)
    assert {message["source"] for message in messages} == {"door"}
    assert {message["kind"] for message in messages} == {"result", "event", "status"}
    assert {"bright", "runtime"} <= {message["rule"] for message in messages if message["kind"] == "event"}
