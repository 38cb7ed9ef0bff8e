"""A replay whose stages overlap publishes the bytes of a replay on one thread, whatever takes long."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import pytest

from edge_app import config
from edge_app.clock import ClipClock
from edge_app.config import PluginConfig
from edge_app.errors import EndOfClip, SourceError
from edge_app.pipeline import Pipeline
from tests import plugins

TEXT = """
device: {id: cam}
source: {type: synthetic, width: 320, height: 240, frames: 12, pace: fast}
model: {path: PROJECT/models/digits, backend: onnx}
track: {head: digits}
rules:
  - {name: view, type: scene, head: scene, ok: dark, after_s: 0.3, min_score: 0}
  - {name: seen, type: count, head: digits}
sinks: [{type: jsonl, path: results.jsonl}]
"""


@pytest.fixture
def settings(config_file) -> config.Config:
    plugins.install()
    return config.load(config_file(TEXT))


def replay(settings: config.Config, *, overlap: bool, max_frames: int | None = None) -> bytes:
    """The published bytes of the first frames, and their order checked."""
    (sink,) = settings.sinks
    path = settings.path.parent / "published.jsonl"
    path.unlink(missing_ok=True)
    settings = settings.replaced(sinks=(PluginConfig(sink.type, {**sink.options, "path": path}),))
    frames = 0
    with Pipeline(settings, ClipClock(), replay=True, overlap=overlap) as running:
        try:
            while frames != max_frames:
                frame = running.step(30.0)
                assert frame is not None
                assert frame.sequence == frames
                frames += 1
        except EndOfClip:
            pass
    return path.read_bytes()


def irregular(settings: config.Config, *, source: int | None = None, sink: int | None = None) -> config.Config:
    """The same clip and sink, with reading and publishing slowed down irregularly. source, sink: seeds."""
    if source is not None:
        plugin = PluginConfig("irregular", {"seed": source})
        settings = settings.replaced(source=replace(settings.source, plugin=plugin))
    if sink is not None:
        settings = settings.replaced(sinks=(PluginConfig("irregular", {"seed": sink}),))
    return settings


def test_overlap_does_not_change_a_byte(settings):
    expected = replay(settings, overlap=False)
    assert expected.count(b'"kind":"result"') == 12
    assert b'"type":"end"' in expected
    assert replay(settings, overlap=True) == expected


@pytest.mark.parametrize(("source", "sink"), [(1, None), (None, 1), (2, 2), (3, 3)])
def test_a_slow_decoder_or_a_slow_sink_does_not_change_a_byte(settings, source, sink):
    expected = replay(settings, overlap=False)
    assert replay(irregular(settings, source=source, sink=sink), overlap=True) == expected


@pytest.mark.parametrize("max_frames", [7, 12])
def test_a_replay_that_stops_early_publishes_the_same_bytes(settings, max_frames):
    """At 12, the end of the clip is known while the last frame is published; it has not been reached."""
    expected = replay(settings, overlap=False, max_frames=max_frames)
    for seed in (1, 2):
        found = replay(irregular(settings, source=seed, sink=seed), overlap=True, max_frames=max_frames)
        assert found == expected


@pytest.mark.parametrize("overlap", [False, True])
def test_frames_before_a_read_error_are_published(settings, overlap):
    plugin = PluginConfig("irregular", {"fail_at": 5})
    settings = settings.replaced(source=replace(settings.source, plugin=plugin))
    with Pipeline(settings, ClipClock(), replay=True, overlap=overlap) as running:
        for number in range(5):
            assert running.step(30.0).sequence == number
        for _ in range(2):
            with pytest.raises(SourceError):
                running.step(30.0)
    published = (settings.path.parent / "results.jsonl").read_text()
    assert published.count('"kind":"result"') == 5
    assert "source_lost" in published


def test_a_head_is_disabled_at_the_same_frame_whatever_takes_long(settings):
    found = set()
    for seed in range(3):
        slow = irregular(settings, source=seed, sink=seed)
        path = settings.path.parent / f"{seed}.jsonl"
        slow = slow.replaced(sinks=(PluginConfig("irregular", {"seed": seed, "path": path}),))
        with Pipeline(slow, ClipClock(), replay=True) as running:
            for number in range(8):
                running.step(30.0)
                if number == 3:
                    running.set_enabled("panel", False)
        found.add(path.read_bytes())
    assert len(found) == 1


@pytest.mark.parametrize("overlap", [False, True])
def test_close_ends_all_threads_and_drops_what_was_read_ahead(settings, overlap):
    before = threading.active_count()
    with Pipeline(settings, ClipClock(), replay=True, overlap=overlap) as running:
        for _ in range(3):
            running.step(30.0)
        assert threading.active_count() == before + (2 if overlap else 0)
    assert threading.active_count() == before
    assert (settings.path.parent / "results.jsonl").read_text().count('"kind":"result"') == 3


def test_inference_on_the_next_frame_runs_while_a_slow_sink_publishes(settings):
    """Not measured: that the frame in flight is finished when a slow publication ends."""
    with Pipeline(irregular(settings).replaced(sinks=()), ClipClock(), replay=True) as running:
        running.step(30.0)
        assert running._inference.busy
        deadline = time.monotonic() + 30
        while running._timers["inference"].stats().calls < 2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
