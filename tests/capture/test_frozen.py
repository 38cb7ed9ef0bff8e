"""When a picture counts as frozen, and how often that leads to a reconnect."""

import numpy as np

from edge_app.capture.frozen import FrozenDetector


def noisy(seed):
    return np.random.default_rng(seed).integers(0, 3, (64, 48, 3), np.uint8)


def test_noise_alone_keeps_a_picture_alive():
    stillness = FrozenDetector()
    assert [stillness.update(noisy(i), float(i)) for i in range(5)] == [0.0] * 5


def test_the_time_since_the_last_change_is_counted():
    stillness = FrozenDetector()
    stillness.update(noisy(0), 0.0)
    stillness.update(noisy(1), 10.0)
    assert stillness.update(noisy(1), 14.0) == 4.0


def test_a_changed_size_is_a_changed_picture():
    stillness = FrozenDetector()
    stillness.update(np.zeros((64, 48, 3), np.uint8), 0.0)
    assert stillness.update(np.zeros((48, 64, 3), np.uint8), 9.0) == 0.0


def test_what_is_kept_does_not_change_with_the_frame_it_came_from():
    stillness = FrozenDetector()
    pixels = noisy(0)
    stillness.update(pixels, 0.0)
    pixels[:] = 0
    assert stillness.update(pixels, 1.0) == 0.0


def test_reconnects_that_do_not_help_come_at_twice_the_interval():
    stillness = FrozenDetector()
    due = []
    for now_s in range(100):
        stillness.update(noisy(0), float(now_s))
        if stillness.reconnect_due(10.0):
            due.append(now_s)
    assert due == [10, 20, 40, 80]


def test_a_picture_that_moves_again_starts_anew():
    stillness = FrozenDetector()
    for now_s in range(15):
        stillness.update(noisy(0), float(now_s))
        stillness.reconnect_due(10.0)
    due = []
    for now_s in range(15, 40):
        stillness.update(noisy(1), float(now_s))
        if stillness.reconnect_due(10.0):
            due.append(now_s)
    assert due == [25, 35]
