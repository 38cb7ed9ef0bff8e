"""Rules in the pipeline: events are published, are reproducible, and always end."""

from __future__ import annotations

import json
import time
from dataclasses import replace

import numpy as np
import pytest

from edge_app import config, pipeline
from edge_app.bench.crowd import Crowd
from edge_app.drawing.annotation import annotate
from edge_app.errors import ConfigError, EndOfClip
from edge_app.frame import Frame, HeadOutput
from tests.conftest import PROJECT, resident_bytes
from tests.pipeline.stages import Stages
from tests.schema import strict

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, frames: 40, pace: fast}
model: {path: PROJECT/models/digits, backend: onnx}
heads: {digits: {score: 0.0}}
track: {head: digits, low: 0, high: 0, start: 0, mix_classes: true}
rules:
  - {name: all, type: count, head: digits, stable_s: 0}
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: results.jsonl}]
"""
CROWD = """
source: {type: synthetic}
model: {path: PROJECT/models/digits}
heads: {digits: {}, scene: {}}
track: {head: digits}
rules:
  - {name: zone, type: zone, head: digits, polygon: [[0.2, 0.2], [0.8, 0.2], [0.8, 1], [0.2, 1]], update_every_s: 1}
  - {name: line, type: line, head: digits, line: [[0.5, 0], [0.5, 1]]}
  - {name: count, type: count, head: digits, at_least: 3}
  - {name: parked, type: stationary, head: digits, after_s: 1, overlap: 0.4}
"""
FILM = Crowd(people=5, width=640, height=480, seconds=20).simulate(1)
PIXELS = np.zeros((480, 640, 3), np.uint8)


def crowd_frame(moment, sequence=0, offset_ns=0):
    frame = Frame("camera", sequence, moment.captured_ns + offset_ns, moment.captured_ns, PIXELS)
    frame.heads = {"digits": HeadOutput(moment.detections)}
    return frame


def run_out(running):
    frames = []
    try:
        while True:
            frame = running.step()
            if frame is not None:
                frames.append(frame)
    except EndOfClip:
        return frames


def events_of(path):
    return [message for message in map(json.loads, path.read_text().splitlines()) if message["kind"] == "event"]


def types_by_id(events):
    """The event types of each event id, in order."""
    types: dict[str, list[str]] = {}
    for event in events:
        types.setdefault(event.event_id, []).append(event.type)
    return types


def test_two_runs_over_the_same_frames_give_the_same_events(config_file):
    loaded = config.load(config_file(CROWD))
    runs = []
    for _ in range(2):
        rules = Stages(loaded)
        events = [event for moment in FILM for event in rules.run(crowd_frame(moment)).events]
        runs.append(events + rules.finish("shutdown"))
    assert runs[0] == runs[1]
    assert {event.rule_type for event in runs[0]} == {"zone", "line", "count", "stationary"}
    for types in types_by_id(runs[0]).values():
        assert types[0] == "new"
        assert types.count("end") == types.count("new") == 1


def test_events_name_the_track_ids_of_detections(config_file):
    rules = Stages(config.load(config_file(CROWD)))
    frames = [rules.run(crowd_frame(moment)) for moment in FILM[:50]]
    ids = {i for frame in frames for i in frame.outputs["digits"].result.track_id.tolist()}
    named = {event.value["track_id"] for frame in frames for event in frame.events if event.rule == "zone"}
    assert named
    assert named <= ids - {0}


def test_a_disabled_rule_ends_its_events_and_publishes_nothing(config_file):
    rules = Stages(config.load(config_file(CROWD)))
    for moment in FILM[:100]:
        rules.run(crowd_frame(moment))
    ends = rules.rules.set_enabled("zone", False)
    assert {(event.type, event.value["reason"]) for event in ends} == {("end", "disabled")}
    later = [event.rule for moment in FILM[100:] for event in rules.run(crowd_frame(moment)).events]
    assert "zone" not in later
    assert "line" in later


def test_a_reload_ends_only_the_events_of_changed_rules(config_file):
    old = config.load(config_file(CROWD))
    rules = Stages(old)
    events = [event for moment in FILM[:100] for event in rules.run(crowd_frame(moment)).events]
    new = old.replaced(rules=tuple(rule for rule in old.rules if rule.name != "zone"))
    ends = rules.apply(new)
    assert {event.rule for event in ends} == {"zone"}
    assert {event.value["reason"] for event in ends} == {"reconfigured"}
    rest = [event for moment in FILM[100:] for event in rules.run(crowd_frame(moment)).events] + rules.finish(
        "shutdown"
    )
    assert all(types.count("end") == 1 for types in types_by_id(events + ends + rest).values())


def test_an_invalid_configuration_changes_nothing(config_file):
    old = config.load(config_file(CROWD))
    rules = Stages(old)
    wrong = replace(old.rules[0], options={**old.rules[0].options, "head": "dogs"})
    with pytest.raises(ConfigError):
        rules.apply(old.replaced(rules=(wrong,)))
    assert list(rules.rules.enabled()) == ["zone", "line", "count", "parked"]


def test_events_are_valid_and_end_with_the_clip(config_file):
    loaded = config.load(config_file(TEXT))
    with pipeline.build(loaded, replay=True) as running:
        run_out(running)
    events = events_of(loaded.path.parent / "results.jsonl")
    validator = strict()
    for event in events:
        validator.validate(event)
    assert events[0]["type"] == "new"
    assert events[-1]["type"] == "end"
    assert events[-1]["value"]["reason"] == "end_of_clip"
    assert events[-1]["rule"] == "all"


def test_close_ends_events_with_reason_shutdown(config_file):
    loaded = config.load(config_file(TEXT))
    with pipeline.build(loaded, replay=True) as running:
        for _ in range(10):
            running.step()
        assert running.health().rules == {"all": True}
    last = events_of(loaded.path.parent / "results.jsonl")[-1]
    assert (last["type"], last["value"]["reason"]) == ("end", "shutdown")


def test_the_pipeline_disables_rules_by_name(config_file):
    loaded = config.load(config_file(TEXT))
    with pipeline.build(loaded, replay=True) as running:
        for _ in range(10):
            running.step()
        running.set_enabled("all", False)
        assert running.health().rules == {"all": False}
        run_out(running)
    assert events_of(loaded.path.parent / "results.jsonl")[-1]["value"]["reason"] == "disabled"


def test_overlays_are_drawn(config_file):
    loaded = config.load(config_file(CROWD))
    rules = Stages(loaded)
    labels = {name: head.labels for name, head in loaded.manifest.heads.items()}
    for moment in FILM[:100]:
        frame = rules.run(crowd_frame(moment))
    plain, drawn = annotate(frame, labels), annotate(frame, labels, rules.overlay())
    changed = (plain != drawn).any(axis=2)
    assert changed[240, 318:323].any()  # the line, at half height
    assert changed[96, 130:500].mean() > 0.5  # the upper edge of the zone
    assert any(shape.text.startswith("line: in ") for shape in rules.overlay())


def test_untracked_detections_are_published_without_a_track_id(config_file):
    loaded = config.load(config_file(TEXT.replace("results: none", "results: all")))
    with pipeline.build(loaded, replay=True) as running:
        run_out(running)
    path = loaded.path.parent / "results.jsonl"
    results = [message for message in map(json.loads, path.read_text().splitlines()) if message["kind"] == "result"]
    first, last = results[0]["heads"]["digits"]["detections"], results[-1]["heads"]["digits"]["detections"]
    assert all("track_id" not in found for found in first)
    assert any(found.get("track_id", 0) >= 1 for found in last)


def test_memory_does_not_grow_with_uptime(config_file):
    """Resident memory between frame 1,000 and 10,000, with all rules: within 1 MB."""
    text = CROWD + "  - {name: meter, type: reading, heads: [digits]}\n  - {name: camera, type: scene, head: scene}\n"
    rules = Stages(config.load(config_file(text)))
    film = Crowd(people=3, width=640, height=480, seconds=20).simulate(2)
    length_ns = len(film) * 40_000_000
    for k in range(10_000):
        round_, at = divmod(k, len(film))
        rules.run(crowd_frame(film[at], k, round_ * length_ns))
        if k == 1_000:
            before = resident_bytes()
    assert resident_bytes() - before < 1_000_000


def test_the_default_configuration_has_the_rules_meter_and_camera():
    loaded = config.load(PROJECT / "config.yaml")
    assert [(rule.name, rule.type) for rule in loaded.rules] == [("meter", "reading"), ("camera", "scene")]


def test_a_lost_camera_ends_open_events_and_new_ones_follow(config_file):
    camera = "synthetic, width: 320, height: 240, live: true, fps: 50, fail_at: 20"
    text = TEXT.replace("synthetic, width: 320, height: 240, frames: 40, pace: fast", camera)
    loaded = config.load(config_file(text))
    path = loaded.path.parent / "results.jsonl"
    deadline_s = time.monotonic() + 60
    with pipeline.build(loaded) as running:
        lost = False
        while not lost or len(running_events(path)) < 3:
            assert time.monotonic() < deadline_s
            running.step(timeout_s=0.05)
            lost = lost or any(event["value"].get("reason") == "source_lost" for event in running_events(path))
    changes = [(event["type"], event["value"].get("reason")) for event in events_of(path) if event["type"] != "update"]
    first = changes.index(("end", "source_lost"))
    assert changes[first - 1] == ("new", None)
    assert changes[first + 1] == ("new", None)
    assert changes[-1][0] == "end"


def running_events(path):
    """The events published so far. The last line may be incomplete."""
    if not path.exists():
        return []
    lines = path.read_text().split("\n")[:-1]
    return [message for message in map(json.loads, lines) if message["kind"] == "event"]
