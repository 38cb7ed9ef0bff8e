"""Throttles: pauses grow while something does not pay, and end when it does."""

from __future__ import annotations

from edge_app.reuse.throttle import DetectionThrottle, PartialThrottle


def test_pauses_of_detection_grow_up_to_a_limit_while_all_frames_are_dense():
    throttle = DetectionThrottle(0.05)
    pauses = [throttle.record(1.05, dense=True) for _ in range(40)]
    started = [pause for pause in pauses if pause]
    assert pauses[:5] == [0] * 5, "a few dense frames cause no pause"
    assert started == sorted(started)
    assert started[4] == 5
    assert started[-1] == 15, "pauses are three times as long if detection never paid"


def test_detection_does_not_pause_while_reuse_pays():
    throttle = DetectionThrottle(0.05)
    assert not any(throttle.record(0.4, dense=False) for _ in range(100))


def test_a_cheap_frame_makes_pauses_short_again():
    throttle = DetectionThrottle(0.05)
    for _ in range(40):
        throttle.record(1.05, dense=True)
    throttle.record(0.05, dense=False)
    pauses = [throttle.record(1.05, dense=True) for _ in range(9)]
    assert 0 < max(pauses) <= 5


def test_detection_pauses_if_partial_frames_save_nothing():
    throttle = DetectionThrottle(0.05)
    assert any(throttle.record(1.0, dense=False) for _ in range(40))


def test_partial_computation_pauses_longer_each_time_it_did_not_pay():
    throttle, waited = PartialThrottle(), []
    for _ in range(6):
        throttle.record(1.2)  # the cache is filled
        throttle.record(0.9)
        throttle.end_run()
        waited.append(next(i for i in range(1000) if throttle.allows()))
    assert waited == [3, 7, 15, 31, 31, 31]


def test_partial_computation_that_paid_does_not_pause():
    throttle = PartialThrottle()
    throttle.record(1.2)
    for _ in range(5):
        throttle.record(0.6)
    throttle.end_run()
    assert throttle.allows()
