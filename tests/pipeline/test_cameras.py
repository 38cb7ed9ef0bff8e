"""Several cameras in one process: each has its own results, and what happens to one does not stop the others."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from edge_app import config, pipeline
from edge_app.errors import ClipError, EndOfClip
from edge_app.pipeline.cameras import Cameras
from tests import plugins
from tests.conftest import PROJECT

REST = f"""
model: {{path: {PROJECT}/models/digits, backend: onnx, deadline_s: 30}}
heads: {{scene: {{}}}}
publish: {{results: all, status_every_s: 0}}
device: {{id: box, state_dir: state}}
sinks: [{{type: jsonl, path: out.jsonl}}]
"""
SOURCE = "type: synthetic, width: 320, height: 240, noise: 0"


@pytest.fixture
def opened(config_file, monkeypatch, tmp_path: Path):
    """`opened(cameras)`: the running cameras of a configuration."""
    monkeypatch.chdir(tmp_path)
    running: list[Cameras] = []

    def build(cameras: str) -> Cameras:
        plugins.install()
        running.append(pipeline.build_cameras(config.load(config_file(f"cameras:\n{cameras}{REST}"))))
        return running[-1]

    yield build
    for each in running:
        each.close(1.0)
    plugins.remove()


def run(cameras: Cameras, until: Callable[[Counter[str]], bool], timeout_s: float = 30.0) -> Counter[str]:
    """Step until the condition holds for the frames of each camera."""
    frames: Counter[str] = Counter()
    end_s = time.monotonic() + timeout_s
    while not until(frames):
        assert time.monotonic() < end_s, frames
        found = cameras.step(0.1)
        if found is not None:
            frames[found[1].source] += 1
    return frames


def messages(cameras: Cameras, folder: Path) -> list[dict[str, object]]:
    """What was published, after all cameras are closed."""
    cameras.close(3.0)
    return [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]


def entry(name: str, options: str = "", more: str = "") -> str:
    return f"  - {{name: {name}, source: {{{SOURCE}{options}}}{more}}}\n"


def test_each_frame_is_published_under_the_name_of_its_camera(opened, tmp_path):
    cameras = opened(entry("a", ", frames: 3, pace: fast") + entry("b", ", frames: 5, pace: fast"))
    frames = run(cameras, lambda frames: sum(frames.values()) == 8)
    assert frames == {"a": 3, "b": 5}
    with pytest.raises(EndOfClip):
        run(cameras, lambda _: False)
    published = Counter(each["source"] for each in messages(cameras, tmp_path) if each["kind"] == "result")
    assert published == {"a": 3, "b": 5}


def test_they_share_the_graphs_of_the_model(opened):
    cameras = opened(entry("a", ", fps: 20") + entry("b", ", fps: 20"))
    run(cameras, lambda frames: len(frames) == 2)
    engines = cameras._shared._engines._engines.values()
    assert [engine.leases for engine in engines] == [2]


def test_a_camera_that_fails_is_lost_and_the_other_goes_on(opened):
    cameras = opened(entry("good", ", fps: 50") + entry("bad", ", fail_at: 0, live: true"))
    frames = run(cameras, lambda frames: frames["good"] >= 20)
    assert frames["bad"] == 0
    assert cameras.pipelines["bad"].health().source == "lost"
    assert "camera" in cameras.pipelines["bad"].health().faults
    assert cameras.stuck() is None


def test_a_camera_that_hangs_stops_nobody(opened):
    cameras = opened(entry("good", ", fps: 50") + entry("bad", ", fps: 50, hang_at: 3, live: true"))
    frames = run(cameras, lambda frames: frames["good"] >= 30)
    assert frames["bad"] <= 3


def test_a_camera_whose_rule_raises_is_built_again_and_the_other_goes_on(opened):
    broken = ", rules: [{name: oops, type: broken}]"
    cameras = opened(entry("good", ", fps: 50") + entry("bad", ", fps: 50", broken))
    run(cameras, lambda frames: frames["good"] >= 20)
    bad = cameras.by_name["bad"]
    assert bad.error is None or "internal error" in bad.error
    assert bad._attempt >= 1


def test_a_changed_configuration_adds_and_removes_cameras_and_leaves_the_others(opened, config_file):
    cameras = opened(entry("a", ", fps: 50") + entry("b", ", fps: 50"))
    run(cameras, lambda frames: len(frames) == 2)
    kept = cameras.pipelines["a"]
    cameras.apply(config.load(config_file(f"cameras:\n{entry('a', ', fps: 50')}{entry('c', ', fps: 50')}{REST}")))
    assert cameras.pipelines["a"] is kept
    assert list(cameras.pipelines) == ["a", "c"]
    run(cameras, lambda frames: frames["a"] > 3 and frames["c"] > 3)


def test_a_configuration_that_cannot_be_built_changes_nothing(opened, config_file):
    cameras = opened(entry("a", ", fps: 50") + entry("b", ", fps: 50"))
    clip = "  - {name: c, source: {type: video, path: missing.mp4}}\n"
    with pytest.raises(ClipError, match=r"missing\.mp4"):
        cameras.apply(config.load(config_file(f"cameras:\n{entry('b', ', fps: 20')}{clip}{REST}")))
    assert list(cameras.pipelines) == ["a", "b"]
    run(cameras, lambda frames: frames["a"] > 3 and frames["b"] > 3)


def test_ids_of_events_begin_with_the_camera_after_the_first(opened, tmp_path):
    cameras = opened(entry("a", ", fail_at: 0, live: true") + entry("b", ", fail_at: 0, live: true"))
    end_s = time.monotonic() + 20
    while not all(each.health().faults for each in cameras.pipelines.values()) and time.monotonic() < end_s:
        cameras.step(0.1)
    events = [each for each in messages(cameras, tmp_path) if each["kind"] == "event"]
    ids = {str(each["event_id"]).rsplit("-", 2)[0] for each in events}
    assert ids == {"runtime", "b-runtime"}
