"""The default configuration on the sample clip: the readings and camera faults that its truth says, and no others."""

from __future__ import annotations

import json

import pytest

from edge_app import config
from edge_app.cli import replay
from tests.conftest import PROJECT

CLIP = PROJECT / "models/digits/sample.mp4"
FRAME_NS = 100_000_000
SOON = 5  # frames within which a number that has become visible is told of


def story(out, model=None):
    """Every event of a replay, as it was published."""
    loaded = config.load(PROJECT / "config.yaml", source=str(CLIP), model=model)
    replay.replay(loaded, out=str(out))
    messages = map(json.loads, out.read_text(encoding="utf-8").splitlines())
    return [message for message in messages if message["kind"] == "event"]


def truth():
    text = CLIP.with_suffix(".truth.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return story(tmp_path_factory.mktemp("story") / "results.jsonl")


def test_every_number_is_told_of_once_in_order_and_soon(told):
    shown = {}
    for line in truth():
        if line["reading"]:
            shown.setdefault(line["reading"], line["frame"])
    new = [event for event in told if event["rule"] == "meter" and event["type"] == "new"]
    read = [(event["monotonic_ns"] // FRAME_NS, event["value"]["text"]) for event in new]
    assert [text for _, text in read] == list(shown)
    assert all(at - shown[text] <= SOON for at, text in read), (read, shown)


def test_each_spell_without_sight_is_one_camera_fault(told):
    spells = []
    for line in truth():
        if not spells or line["scene"] != spells[-1][0]:
            spells.append((line["scene"], line["frame"]))
    faults = [event for event in told if event["rule"] == "camera" and event["type"] == "new"]
    assert [event["value"]["state"] for event in faults] == [scene for scene, _ in spells if scene != "ok"]


def test_all_that_began_has_ended(told):
    began = sorted(event["event_id"] for event in told if event["type"] == "new")
    assert began == sorted(event["event_id"] for event in told if event["type"] == "end")
