"""The published values of heads, camera and device: bounded, and unchanged by noise."""

import json

import numpy as np

from edge_app.frame import Classification, Detections, HeadOutput
from edge_app.state.board import MAX_PAYLOAD_BYTES
from edge_app.state.values import camera_values, counted, device_values, head_values


def detections(*classes):
    n = len(classes)
    return Detections(np.zeros((n, 4), np.float32), np.full(n, 0.5, np.float32), np.array(classes, np.int32))


def test_a_detecting_head_counts_by_label():
    found = head_values(HeadOutput(detections(1, 0, 1, 9)), ["cat", "dog"])
    assert found == {"count": 4, "labels": {"9": 1, "cat": 1, "dog": 2}}


def test_a_classifying_head_has_its_best_label():
    result = Classification(np.array([1, 0], np.int32), np.array([0.6, 0.4], np.float32))
    assert head_values(HeadOutput(result), ["ok", "dark"]) == {"label": "dark"}


def test_only_the_most_frequent_labels_are_counted():
    found = counted({f"label {n:03}": n for n in range(100)})
    assert len(found) == 20
    assert min(found.values()) == 80


def test_values_fit_into_a_message_whatever_the_labels_are():
    labels = ["ü" * 100 + str(n) for n in range(100)]
    found = head_values(HeadOutput(detections(*range(100))), [label[::-1] for label in labels])
    assert len(json.dumps(found, ensure_ascii=False).encode()) < MAX_PAYLOAD_BYTES + 500
    camera = camera_values("lost", "x" * 5000, {f"head:{'h' * 100}{n}": {} for n in range(100)}, "all frames")
    assert len(json.dumps(camera).encode()) < MAX_PAYLOAD_BYTES


def test_a_lost_camera_is_a_problem_with_its_error():
    assert camera_values("lost", "no route", {"camera": {}}, "full")["problem"]
    running = camera_values("running", "no route", {}, "full")
    assert (running["problem"], running["error"]) == (False, "")


def test_noise_is_not_a_change():
    first, second = (
        device_values(temperature_c=41.0 + noise, memory_mb=80.1 + noise, frames_per_s=9.98 + noise / 10, queue=0)
        for noise in (0.1, 0.3)
    )
    assert first == second
