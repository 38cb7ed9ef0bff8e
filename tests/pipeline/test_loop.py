"""The one loop: order, overlap, exchange of the configuration at a frame boundary, and what it says of itself."""

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
from edge_app.threads import Inline, Worker
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
    """Step to the end of the clip. Returns the sequence numbers that passed."""
    sequences = []
    try:
        while True:
            frame = running.step()
            if frame is not None:
                sequences.append(frame.sequence)
    except EndOfClip:
        return sequences


def test_every_frame_of_a_replay_passes_in_order_and_is_published(settings):
    with pipeline.build(settings, replay=True) as running:
        assert run_out(running) == list(range(20))
        with pytest.raises(EndOfClip):
            running.step()
    published = results(settings)
    assert [message["frame"] for message in published] == list(range(20))
    assert [message["seq"] for message in published] == list(range(20))
    assert list(published[0]["heads"]) == ["digits", "panel", "scene"]


def test_two_replays_give_the_same_bytes(settings):
    for _ in range(2):
        with pipeline.build(settings, replay=True) as running:
            run_out(running)
    path = settings.path.parent / "results.jsonl"
    whole = path.read_bytes()
    assert whole[: len(whole) // 2] == whole[len(whole) // 2 :]


def test_closing_leaves_no_thread_behind(settings):
    before = threading.active_count()
    with pipeline.build(settings) as running:
        running.step()
    assert threading.active_count() == before


def test_what_it_says_of_itself(settings):
    with pipeline.build(settings, replay=True) as running:
        run_out(running)
        stats, health = running.stats(), running.health()
    assert stats.frames == 20
    assert stats.stages["inference"].calls == 20
    assert 0 < stats.stages["inference"].mean_ms < 1000
    assert health.heads == {"digits": True, "panel": True, "scene": True}
    assert health.backend.startswith("onnxruntime")
    assert health.last_frame_ns == running.stats().capture.last_frame_ns


def test_a_head_is_switched_off_at_a_frame_boundary(settings):
    with pipeline.build(settings, replay=True) as running:
        running.step()
        running.set_enabled("panel", False)
        run_out(running)
    heads = [list(message["heads"]) for message in results(settings)]
    assert heads[0] == ["digits", "panel", "scene"]
    assert heads[-1] == ["digits", "scene"]


def test_another_sink_is_applied_without_losing_a_frame(settings):
    other = settings.replaced(sinks=(PluginConfig("jsonl", {"path": settings.path.parent / "other.jsonl"}),))
    with pipeline.build(settings, replay=True) as running:
        for _ in range(5):
            running.step()
        running.apply(other)
        run_out(running)
    before, after = results(settings), results(settings, "other.jsonl")
    assert [message["frame"] for message in before + after] == list(range(20))
    assert len(before) in (5, 6)  # the frame that was in flight belongs to the old configuration


def test_only_what_changed_is_built_anew(settings):
    with pipeline.build(settings, replay=True) as running:
        running.step()
        model, source = running._engine._inference, running._capture
        running.apply(settings.replaced(publish=replace(settings.publish, results="none")))
        assert running._engine._inference is model
        assert running._capture is source


def test_a_configuration_that_cannot_be_built_leaves_the_old_one_running(settings):
    bad = settings.replaced(sinks=(PluginConfig("jsonl", {"path": Path("/nonexistent/results.jsonl")}),))
    with pipeline.build(settings, replay=True) as running:
        running.step()
        with pytest.raises(SinkError):
            running.apply(bad)
        assert running.config is settings
        run_out(running)
    assert [message["frame"] for message in results(settings)] == list(range(20))


def test_another_source_is_applied(settings):
    shorter = PluginConfig("synthetic", {**settings.source.plugin.options, "frames": 3}, "")
    with pipeline.build(settings, replay=True) as running:
        running.step()
        running.apply(settings.replaced(source=replace(settings.source, plugin=shorter)))
        assert len(run_out(running)) == 3


def test_heartbeats_come_at_the_configured_pace(config_file):
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


def test_a_worker_hands_over_what_its_stage_raises():
    worker: Worker[int, float] = Worker(lambda x: 1 / x, "test")
    worker.submit(2)
    assert worker.result() == 0.5
    worker.submit(0)
    with pytest.raises(ZeroDivisionError):
        worker.result()
    worker.submit(4)
    assert worker.result() == 0.25
    worker.close()


def test_a_worker_that_hangs_is_told_from_one_that_fails():
    release = threading.Event()
    worker: Worker[int, bool] = Worker(lambda _: release.wait(10), "stuck")
    worker.submit(1)
    with pytest.raises(TimeoutError, match=r"stuck did not finish within 0\.01 s"):
        worker.result(timeout_s=0.01)
    release.set()
    assert worker.result(timeout_s=5)
    worker.close()


def test_an_inline_stage_runs_when_its_result_is_asked_for_and_finishes_once():
    seen, finished = [], []
    inline: Inline[int, float] = Inline(lambda x: seen.append(x) or 1 / x, finish=lambda: finished.append(1))
    inline.submit(0)
    assert inline.busy
    assert not seen
    with pytest.raises(ZeroDivisionError):
        inline.result()
    inline.submit(4)
    assert inline.result() == 0.25
    inline.close()
    inline.close()
    assert finished == [1]


def test_a_replay_needs_no_thread(settings):
    before = threading.active_count()
    with pipeline.build(settings, replay=True) as running:
        running.step()
        assert threading.active_count() == before


def test_inference_overlaps_with_publishing(settings):
    """While one frame is published the next is already in inference: seen from the worker being busy after a step."""
    with pipeline.build(settings) as running:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            running.step()
            if running._engine.busy:
                return
    pytest.fail("no frame was ever in inference when a step returned")
