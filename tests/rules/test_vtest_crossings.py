"""line on people who cross the middle of vtest.avi: every true crossing, and no other.

vtest_nanodet.jsonl.gz: the boxes of people that NanoDet-m finds in OpenCV's sample clip vtest.avi (`edge-app compile
nanodet_m.onnx --input 768x576 --cut 4,8,16`, score 0.4), one frame per line: [[x1, y1, x2, y2, score], …], pixels.
vtest_crossings.yaml: the truth, from the pictures.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from edge_app.config.rules import TrackConfig
from edge_app.frame import Detections, Frame, HeadOutput
from edge_app.rules import Moment, RuleContext
from edge_app.rules.line import Rule
from edge_app.tracking import Tracker
from edge_app.tracking.assignment import assign

HERE = Path(__file__).parent
FRAME_NS = 100_000_000
TOLERANCE = 15  # frames: a box of two people, or one that is hidden, crosses earlier or later than its person
PIXELS = np.zeros((576, 768, 3), np.uint8)


@pytest.fixture(scope="module")
def clip():
    with gzip.open(HERE / "vtest_nanodet.jsonl.gz", "rt") as lines:
        return [np.array(json.loads(line), np.float32).reshape(-1, 5) for line in lines]


@pytest.fixture(scope="module")
def truth():
    entries = yaml.safe_load((HERE / "vtest_crossings.yaml").read_text(encoding="utf-8"))["crossings"]
    return [(entry["frame"], entry["direction"]) for entry in entries]


def crossings(clip, step=1, first=0):
    """Frame and direction of every crossing, with the defaults of `track` and the rule."""
    tracker = Tracker(TrackConfig(head="people"))
    rule = Rule(
        RuleContext("gate", "line", {"people": ("person",)}, "people"), head="people", line=((0.5, 0), (0.5, 1))
    )
    events = []
    for k in range(first, len(clip), step):
        boxes = clip[k]
        frame = Frame("camera", k, k * FRAME_NS, k * FRAME_NS, PIXELS)
        found = Detections(boxes[:, :4].copy(), boxes[:, 4].copy(), np.zeros(len(boxes), np.int32))
        frame.heads = {"people": HeadOutput(found)}
        events += rule.step(tracker.track(frame))
    events += rule.finish("end_of_clip", Moment(len(clip) * FRAME_NS, 0))
    named = {"in": "left", "out": "right"}  # looking down along the line, a person's right is the left of the image
    return [(e.start_ns // FRAME_NS, named[e.value["direction"]]) for e in events if e.type == "new"]


def matched(found, truth):
    """The number of pairs of the same direction within the tolerance."""
    near = [[d == t and abs(k - n) <= TOLERANCE for k, d in found] for n, t in truth]
    return len(assign(np.array(near, np.float64), 0.5)[0])


@pytest.fixture(scope="module")
def full(clip):
    return crossings(clip)


def test_every_true_crossing_is_counted_and_no_other(full, truth):
    assert matched(full, truth) == len(truth) == 32
    assert len(full) <= len(truth) + 1


@pytest.mark.parametrize(("step", "tolerance"), [(2, 1), (3, 3)])
def test_fewer_frames_count_the_same(clip, full, truth, step, tolerance):
    for first in range(step):
        found = crossings(clip, step, first)
        assert abs(len(found) - len(full)) <= tolerance
        assert len(found) - matched(found, truth) <= 1
