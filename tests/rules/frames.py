"""Synthetic frames for tests of rules, and checks that hold for every list of events."""

from __future__ import annotations

import numpy as np

from edge_app.frame import Classification, Detections, Frame, HeadOutput, Segmentation
from edge_app.rules import RuleContext

SECOND = 1_000_000_000
WIDTH, HEIGHT = 640, 480
PIXELS = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
LABELS = {
    "objects": ("person", "car"),
    "digits": tuple("0123456789"),
    "panel": ("panel",),
    "scene": ("ok", "dark", "blurred", "covered"),
}


def context(type_, *, tracked="objects"):
    return RuleContext("rule", type_, LABELS, tracked)


def frame(t_s, /, *, utc_ns=None, age_s=0.0, **results):
    """A frame at `t_s` seconds with the given result of each head."""
    ns = round(t_s * SECOND)
    made = Frame("camera", 0, ns, ns if utc_ns is None else utc_ns, PIXELS)
    made.heads = {name: HeadOutput(result, round(age_s * SECOND)) for name, result in results.items()}
    return made


def objects(*rows, score=0.9, size=(0.05, 0.1)):
    """Detections of (track id, x, y[, class id]): a box of `size` whose bottom center is at (x, y), 0..1."""
    n = len(rows)
    boxes = np.array([(x - size[0] / 2, y - size[1], x + size[0] / 2, y) for _, x, y, *_ in rows]).reshape(-1, 4)
    return Detections(
        (boxes * (WIDTH, HEIGHT, WIDTH, HEIGHT)).astype(np.float32),
        np.full(n, score, np.float32),
        np.array([row[3] if len(row) > 3 else 0 for row in rows], np.int32),
        np.array([row[0] for row in rows], np.int64),
    )


def digits(text, *, left=0.3, top=0.4, pitch=0.08, size=(0.05, 0.12), angle=0.0, score=0.9):
    """A row of digits; a space leaves a gap. angle: degrees, around the upper left corner."""
    places = [(i, digit) for i, digit in enumerate(text) if digit != " "]
    centers = np.array([(left + pitch * i + size[0] / 2, top + size[1] / 2) for i, _ in places]).reshape(-1, 2)
    centers = rotated(centers, (left, top), angle)
    half = np.array(size) * (WIDTH, HEIGHT) / 2
    return Detections(
        np.hstack([centers - half, centers + half]).astype(np.float32),
        np.full(len(places), score, np.float32),
        np.array([int(digit) for _, digit in places], np.int32),
    )


def panel(count=4, *, left=0.3, top=0.4, pitch=0.08, size=(0.05, 0.12), angle=0.0):
    """The panel around a row of `digits` with the same arguments."""
    right, bottom = left + pitch * (count - 1) + size[0] + 0.03, top + size[1] + 0.03
    corners = np.array([(left - 0.03, top - 0.03), (right, top - 0.03), (right, bottom), (left - 0.03, bottom)])
    polygon = rotated(corners, (left, top), angle)
    return Segmentation(np.zeros(1, np.int32), np.ones(1, np.float32), (polygon.astype(np.float32),))


def rotated(points, about, angle):
    """Points, 0..1, in pixels, rotated clockwise by `angle` degrees around a point, 0..1."""
    pixels, center = points * (WIDTH, HEIGHT), np.array(about) * (WIDTH, HEIGHT)
    c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
    return (pixels - center) @ np.array([[c, s], [-s, c]]) + center


def scene(label, score=0.95):
    return Classification(np.array([LABELS["scene"].index(label)], np.int32), np.array([score], np.float32))


def both(*detections):
    """Detections, concatenated."""
    return Detections(
        np.concatenate([d.xyxy for d in detections]),
        np.concatenate([d.score for d in detections]),
        np.concatenate([d.class_id for d in detections]),
    )


def run(rule, frames):
    """All events of a list of frames."""
    return [event for f in frames for event in rule.step(f)]


def finish(rule, reason="shutdown", t_s=1e6):
    from edge_app.rules import Moment

    return list(rule.finish(reason, Moment(round(t_s * SECOND), round(t_s * SECOND))))


def check_events(events):
    """Check that every event starts once and ends once, not before its start, and gives the reason of its end."""
    lives = {}
    for event in events:
        life = lives.setdefault(event.event_id, [])
        life.append(event.type)
        assert event.value.get("dwell_s", 0) >= 0
        if event.type == "end":
            assert event.end_ns >= event.start_ns
            assert event.end_utc_ns >= event.start_utc_ns
            assert event.value["reason"]
        else:
            assert event.end_ns is None
    for life in lives.values():
        assert life[0] == "new"
        assert life[-1] == "end"
        assert life.count("new") == life.count("end") == 1
