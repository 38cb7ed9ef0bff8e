"""FrozenDetector: when an image counts as frozen, and when to reconnect."""

import numpy as np

from edge_app.capture.frozen import FrozenDetector


def noisy(seed):
    return np.random.default_rng(seed).integers(0, 3, (64, 48, 3), np.uint8)


def test_noise_counts_as_a_change():
    detector = FrozenDetector()
    assert [detector.update(noisy(i), float(i)) for i in range(5)] == [0.0] * 5


def test_reports_the_time_since_the_last_change():
    detector = FrozenDetector()
    detector.update(noisy(0), 0.0)
    detector.update(noisy(1), 10.0)
    assert detector.update(noisy(1), 14.0) == 4.0


def test_another_size_counts_as_a_change():
    detector = FrozenDetector()
    detector.update(np.zeros((64, 48, 3), np.uint8), 0.0)
    assert detector.update(np.zeros((48, 64, 3), np.uint8), 9.0) == 0.0


def test_keeps_a_copy_of_the_pixels():
    detector = FrozenDetector()
    pixels = noisy(0)
    detector.update(pixels, 0.0)
    pixels[:] = 0
    assert detector.update(pixels, 1.0) == 0.0


def test_the_interval_doubles_after_each_reconnect_without_a_change():
    detector = FrozenDetector()
    due = []
    for now_s in range(100):
        detector.update(noisy(0), float(now_s))
        if detector.reconnect_due(10.0):
            due.append(now_s)
    assert due == [10, 20, 40, 80]


def test_a_change_resets_the_interval():
    detector = FrozenDetector()
    for now_s in range(15):
        detector.update(noisy(0), float(now_s))
        detector.reconnect_due(10.0)
    due = []
    for now_s in range(15, 40):
        detector.update(noisy(1), float(now_s))
        if detector.reconnect_due(10.0):
            due.append(now_s)
    assert due == [25, 35]
