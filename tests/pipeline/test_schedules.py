"""Schedules in the pipeline, on an injected clock: rules, heads and the camera are switched, durations stay right."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone

import pytest

from edge_app import config
from edge_app.clock import ClipClock, SystemClock
from edge_app.errors import ConfigError
from edge_app.pipeline import Pipeline

UTC_MORNING = int(datetime(2026, 11, 27, 6, 59, 59, tzinfo=timezone.utc).timestamp() * 1e9)
HOUR_NS = 3600 * 10**9
TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 50, live: true, SOURCE}
model: {path: PROJECT/models/digits, backend: onnx}
heads: {digits: {score: 0.0, HEAD}}
rules: [{name: all, type: count, head: digits, stable_s: 0, at_least: 1, RULE}]
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: results.jsonl}]
"""
DAY = 'schedule: [{days: mon-sun, from: "07:00", to: "19:00"}]'


class Wall(SystemClock):
    """The system's clock with a UTC time that a test sets and steps. Time passes as it does."""

    def __init__(self, utc_ns: int, *, is_set: bool = True) -> None:
        super().__init__()
        self.is_set = is_set
        self._offset_ns = utc_ns - self.monotonic_ns()

    def utc_ns(self) -> int:
        return self.monotonic_ns() + self._offset_ns

    def synced(self) -> bool:
        return self.is_set

    def step(self, by_ns: int) -> None:
        self._offset_ns += by_ns


@pytest.fixture
def start(config_file, tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    opened = []

    def build(clock: Wall, **schedules: str) -> Pipeline:
        text = TEXT
        for name in ("SOURCE", "HEAD", "RULE"):
            text = text.replace(f", {name}", f", {schedules[name]}" if name in schedules else "")
        loaded = config.load(config_file(text))
        loaded = loaded.replaced(device=replace(loaded.device, state_dir=tmp_path / "state"))
        opened.append(Pipeline(loaded, clock))
        return opened[-1]

    yield build
    for running in opened:
        running.close()


def until(running: Pipeline, condition, steps: int = 400) -> None:
    for _ in range(steps):
        running.step(0.05)
        if condition():
            return
    raise AssertionError("still false")


def events(running: Pipeline, tmp_path) -> list[dict]:
    running.close()
    lines = (tmp_path / "results.jsonl").read_text().splitlines()
    return [message for message in map(json.loads, lines) if message["kind"] == "event"]


def test_a_rule_is_switched_by_its_schedule_and_its_open_event_ends(start, tmp_path):
    clock = Wall(UTC_MORNING)
    running = start(clock, RULE=DAY)
    running.step(0.2)
    assert running.health().rules == {"all": False}
    until(running, lambda: running.recent_events)  # at 07:00
    assert running.health().rules == {"all": True}
    clock.step(12 * HOUR_NS)
    until(running, lambda: running.recent_events[-1].type == "end")
    assert running.recent_events[-1].value["reason"] == "schedule"
    found = events(running, tmp_path)
    assert [event["type"] for event in found if event["type"] != "update"] == ["new", "end"]


def test_a_rule_is_off_while_the_head_that_it_watches_is(start):
    clock = Wall(UTC_MORNING)
    running = start(clock, HEAD=DAY)
    until(running, lambda: running.stats().frames >= 3)
    assert (running.health().heads, running.health().rules) == ({"digits": False}, {"all": False})
    until(running, lambda: running.recent_events)
    assert (running.health().heads, running.health().rules) == ({"digits": True}, {"all": True})
    clock.step(12 * HOUR_NS)
    until(running, lambda: not running.health().heads["digits"])
    assert [event.type for event in running.recent_events if event.type != "update"] == ["new", "end"]


def test_outside_its_hours_the_camera_is_closed_without_a_fault(start):
    clock = Wall(UTC_MORNING - HOUR_NS)
    running = start(clock, SOURCE=DAY)
    for _ in range(5):
        assert running.step(0.05) is None
    assert running.source_off
    assert (running.health().source, running.health().faults) == ("closed", {})
    clock.step(HOUR_NS + 10**9)
    until(running, lambda: running.recent_events)
    frames = running.stats().frames
    assert frames > 0
    clock.step(12 * HOUR_NS)
    until(running, lambda: running.source_off)
    assert [event.value.get("reason") for event in running.recent_events if event.type == "end"] == ["schedule"]
    assert all(event.rule == "all" for event in running.recent_events)
    last = running.stats().capture.frames
    clock.step(12 * HOUR_NS)
    until(running, lambda: running.stats().capture.frames > last)
    assert running.health().faults == {}
    assert running.status()["schedule"]["entries"]["source"]["on"]


def test_until_the_clock_is_set_everything_is_on(start):
    clock = Wall(UTC_MORNING - HOUR_NS, is_set=False)
    running = start(clock, SOURCE=DAY, RULE=DAY)
    until(running, lambda: running.recent_events)
    assert running.status()["schedule"]["clock_set"] is False
    clock.is_set = True
    until(running, lambda: running.source_off)
    assert running.health().rules == {"all": False}
    entry = running.status()["schedule"]["entries"]["all"]
    assert entry == {"on": False, "next_change": "2026-11-27T07:00:00.000Z"}


@pytest.mark.parametrize("step_ns", [HOUR_NS, -HOUR_NS, 400 * 24 * HOUR_NS])
def test_a_step_of_the_clock_changes_no_duration(start, tmp_path, step_ns):
    clock = Wall(UTC_MORNING)
    running = start(clock)
    until(running, lambda: running.recent_events)
    began = running.recent_events[0]
    clock.step(step_ns)
    until(running, lambda: running.stats().frames > 20)
    end = [event for event in events(running, tmp_path) if event["type"] == "end"][-1]
    start_s, end_s = (datetime.fromisoformat(end[key].replace("Z", "+00:00")).timestamp() for key in ("start", "end"))
    assert end["event_id"] == began.event_id
    assert 0 < end_s - start_s < 60


def test_a_schedule_of_a_replay_uses_the_clock_of_the_clip(config_file, tmp_path):
    text = TEXT.replace("live: true, SOURCE", "frames: 100, pace: fast").replace("fps: 50", "fps: 0.002")
    text = text.replace(", HEAD", "").replace("RULE", 'schedule: [{from: "01:00", to: "02:00"}]')
    loaded = config.load(config_file(text))
    found = []
    for overlap in (False, True):
        with Pipeline(loaded, ClipClock(), replay=True, overlap=overlap) as running:
            for _ in range(17):
                running.step()
            found.append([(e.type, e.start_ns, e.end_ns) for e in running.recent_events if e.type != "update"])
    assert found[0] == found[1]
    assert found[0] == [("new", 4000 * 10**9, None), ("end", 4000 * 10**9, 7000 * 10**9)]  # a frame every 500 s


def test_a_wrong_schedule_is_an_error_with_its_line(config_file):
    path = config_file(
        TEXT.replace(", SOURCE", ', schedule: [{from: "25:00"}]').replace(", HEAD", "").replace("RULE", DAY)
    )
    with pytest.raises(ConfigError, match=r":3: source\.schedule\[0\]: found from '25:00'; expected a time HH:MM"):
        config.load(path)
