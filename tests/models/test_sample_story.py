"""The default configuration on the sample clip: exactly the readings and camera faults of its ground truth."""

from __future__ import annotations

import json

import pytest

from edge_app import config
from edge_app.cli import replay
from tests.conftest import PROJECT

CLIP = PROJECT / "models/digits/sample.mp4"
FRAME_NS = 100_000_000
MAX_DELAY = 5  # frames from a number becoming visible to its event


def replayed_events(out, model=None):
    """Every event of a replay, as published."""
    loaded = config.load(PROJECT / "config.yaml", source=str(CLIP), model=model)
    replay.replay(loaded, out=str(out))
    messages = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    return [message for message in messages if message["kind"] == "event"]


def truth():
    text = CLIP.with_suffix(".truth.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    return replayed_events(tmp_path_factory.mktemp("story") / "results.jsonl")


def test_every_number_is_published_once_in_order_and_in_time(events):
    shown = {}
    for line in truth():
        if line["reading"]:
            shown.setdefault(line["reading"], line["frame"])
    new = [event for event in events if event["rule"] == "meter" and event["type"] == "new"]
    read = [(event["monotonic_ns"] // FRAME_NS, event["value"]["text"]) for event in new]
    assert [text for _, text in read] == list(shown)
    assert all(at - shown[text] <= MAX_DELAY for at, text in read), (read, shown)


def test_each_period_of_bad_view_is_one_camera_fault(events):
    periods = []
    for line in truth():
        if not periods or line["scene"] != periods[-1][0]:
            periods.append((line["scene"], line["frame"]))
    faults = [event for event in events if event["rule"] == "camera" and event["type"] == "new"]
    assert [event["value"]["state"] for event in faults] == [scene for scene, _ in periods if scene != "ok"]


def test_every_event_ends(events):
    started = sorted(event["event_id"] for event in events if event["type"] == "new")
    assert started == sorted(event["event_id"] for event in events if event["type"] == "end")
