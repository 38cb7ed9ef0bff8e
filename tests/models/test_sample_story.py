"""The default configuration on the sample clip: the readings and camera faults that its truth says, and no others."""

from __future__ import annotations

import json

import pytest

from edge_app import config, pipeline
from edge_app.errors import EndOfClip
from tests.conftest import PROJECT

SOON = 5  # frames within which a number that has become visible is told of


def story(model=None):
    """Every event of a replay, with the frame that it was told at."""
    loaded = config.load(PROJECT / "config.yaml", source=str(PROJECT / "models/digits/sample.mp4"), model=model)
    told = []
    with pipeline.build(loaded.replaced(sinks=()), replay=True) as running:
        try:
            while True:
                frame = running.step()
                told += [] if frame is None else [(frame.sequence, event) for event in frame.events]
        except EndOfClip:
            return told


def truth():
    path = PROJECT / "models/digits/sample.truth.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def told():
    return story()


def test_every_number_is_told_of_once_in_order_and_soon(told):
    shown = {}
    for line in truth():
        if line["reading"]:
            shown.setdefault(line["reading"], line["frame"])
    read = [(at, event.value["text"]) for at, event in told if event.rule == "meter" and event.type == "new"]
    assert [text for _, text in read] == list(shown)
    assert all(at - shown[text] <= SOON for at, text in read), (read, shown)


def test_each_spell_without_sight_is_one_camera_fault(told):
    spells = []
    for line in truth():
        if not spells or line["scene"] != spells[-1][0]:
            spells.append((line["scene"], line["frame"]))
    faults = [event for _, event in told if event.rule == "camera" and event.type == "new"]
    assert [event.value["state"] for event in faults] == [scene for scene, _ in spells if scene != "ok"]
    for event, begin in zip(faults, [frame for scene, frame in spells if scene != "ok"]):
        assert abs(event.start_ns / 1e8 - begin) <= SOON
