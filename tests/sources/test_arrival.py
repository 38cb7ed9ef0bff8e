"""The estimated time of capture, with streams of every rate, wrong times, bursts and steps; no waiting."""

from __future__ import annotations

import itertools
import random

import pytest

from edge_app.sources._arrival import ArrivalClock, DelayEstimator, Reordering

SECOND = 10**9
RATES = (0.5, 1, 2, 5, 10, 12, 15, 25)


class Clock:
    """Two clocks that a test sets."""

    boot_id = "test"

    def __init__(self):
        self.now_ns = 1000 * SECOND
        self.utc_offset_ns = 5000 * SECOND

    def monotonic_ns(self):
        return self.now_ns

    def utc_ns(self):
        return self.now_ns + self.utc_offset_ns

    def synced(self):
        return True


def run(clock, arrival, frames):
    """Stamp frames, each of (arrival in s, time in the stream in s, hidden frames). Returns the stamps in s."""
    start_ns = clock.now_ns
    stamps = []
    for at_s, stream_s, hidden in frames:
        clock.now_ns = start_ns + round(at_s * SECOND)
        captured_ns, utc_ns = arrival.stamp(round(stream_s * SECOND), hidden)
        assert captured_ns <= clock.now_ns + 1000 * len(stamps)
        assert utc_ns - captured_ns == clock.utc_offset_ns
        stamps.append((captured_ns - start_ns) / SECOND)
    assert all(b > a for a, b in itertools.pairwise(stamps))
    return stamps


def opened(clock):
    arrival = ArrivalClock(clock)
    arrival.start()
    return arrival


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("hidden", [0, 1, 2, 5, 7])
@pytest.mark.parametrize("probed", [0, 8])
def test_the_stamp_is_right_at_every_rate_with_probing_decoding_and_jitter(fps, hidden, probed):
    """The first `probed` frames are returned together; each later one `hidden` frames late; the network adds 20 ms."""
    clock, rng = Clock(), random.Random(1)
    count = min(400, int(60 * fps) + 20)
    times_s = (max(n + hidden, probed) / fps + n * 1e-6 + rng.uniform(0, 0.02) for n in range(count))
    times = [(at, n / fps + 7, hidden) for n, at in enumerate(itertools.accumulate(times_s, max))]
    stamps = run(clock, opened(clock), times)
    for n, stamp in enumerate(stamps):
        assert abs(stamp - n / fps) <= 1.5 / fps + 0.02, n


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("first", [[0], [0, 1, 2], [0, 1, 2, 3, 4]])
def test_times_that_are_wrong_at_the_start_are_forgotten(fps, first):
    """FFmpeg's times can start 0, 100, … 400 ms and then fall to -100 ms."""
    clock = Clock()
    count = int(20 * fps) + 30
    stream = [n / fps for n in first] + [(n - len(first) - 1) / fps for n in range(len(first), count)]
    times = [((n + 2) / fps, stream[n], 2) for n in range(count)]
    stamps = run(clock, opened(clock), times)
    errors = [abs(stamp - n / fps) * fps for n, stamp in enumerate(stamps)]
    assert max(errors) <= len(first) + 1.5
    assert max(error for error, (at, *_) in zip(errors, times, strict=True) if at > 10 + 4 / fps) <= 0.1


@pytest.mark.parametrize("step_s", [-3600.0, -3.0, -0.3, 0.3, 3.0, 3600.0])
def test_a_step_of_the_cameras_clock_changes_no_stamp(step_s):
    clock = Clock()
    times = [(n / 10, n / 10 + (step_s if n >= 100 else 0), 0) for n in range(300)]
    stamps = run(clock, ArrivalClock(clock), times)
    assert max(abs(stamp - n / 10) for n, stamp in enumerate(stamps)) < 0.001


def test_a_single_time_that_is_too_early_is_forgotten_within_seconds():
    clock = Clock()
    times = [(n / 10, n / 10 + (2.0 if 50 <= n < 52 else 0), 0) for n in range(300)]
    stamps = run(clock, ArrivalClock(clock), times)
    assert max(abs(stamp - n / 10) for n, stamp in enumerate(stamps)) < 0.11


def test_a_minimum_that_no_other_frame_comes_near_is_forgotten_within_seconds():
    """The delay rises by 0.5 s and stays: a route over another network."""
    clock = Clock()
    times = [(n / 10 + (0.5 if n >= 50 else 0), n / 10, 0) for n in range(300)]
    stamps = run(clock, ArrivalClock(clock), times)
    assert stamps[60] == pytest.approx(6.0)
    assert stamps[200] == pytest.approx(20.5)  # its least delay now


@pytest.mark.parametrize("ppm", [-10_000, -200, 200, 10_000])
def test_a_camera_clock_of_another_rate_causes_no_growing_error(ppm):
    clock = Clock()
    arrival = ArrivalClock(clock)
    stamps = run(clock, arrival, [(n / 5, n / 5 * (1 + ppm * 1e-6), 0) for n in range(20_000)])
    assert max(abs(stamp - n / 5) for n, stamp in enumerate(stamps)) < 0.1
    assert arrival.backlog_s < 0.1


def test_delay_follows_a_backlog_up_and_down():
    delay = DelayEstimator()
    delays = [delay.update((100 + t) * SECOND, (5 + stream) * SECOND) for t, stream in ((0, 0), (2, 1), (4, 2), (5, 5))]
    assert [round(ns / SECOND, 2) for ns in delays] == [0, 1, 2, 0]


def test_frames_that_wait_for_the_network_keep_their_time():
    """The network stalls for 3 s; then all frames arrive together."""
    clock = Clock()
    times = [(max(n / 10, 13 if 100 <= n <= 130 else 0) + n * 1e-6, n / 10, 0) for n in range(300)]
    stamps = run(clock, ArrivalClock(clock), times)
    assert max(abs(stamp - n / 10) for n, stamp in enumerate(stamps)) < 0.001


@pytest.mark.parametrize("growth", [0.05, 0.2, 1.0])
def test_a_backlog_that_grows_slowly_is_measured(growth):
    """A decoder that is too slow: the stamps of the last seconds cannot tell, the whole connection can."""
    clock = Clock()
    arrival = ArrivalClock(clock)
    for n in range(5000):
        clock.now_ns += round(0.1 * (1 + growth) * SECOND)
        arrival.stamp(round(n * 0.1 * SECOND))
    assert arrival.backlog_s > 5.0


def test_a_stream_without_times_is_stamped_on_arrival():
    clock = Clock()
    arrival = opened(clock)
    assert arrival.stamp() == (clock.now_ns, clock.now_ns + clock.utc_offset_ns)
    assert arrival.stamp()[0] > clock.now_ns - 1


def test_a_step_of_the_wall_clock_changes_utc_only():
    clock = Clock()
    arrival = ArrivalClock(clock)
    first = arrival.stamp(0)
    clock.now_ns += SECOND
    clock.utc_offset_ns -= 3600 * SECOND
    second = arrival.stamp(SECOND)
    assert second[0] - first[0] == SECOND
    assert second[1] - first[1] == -3599 * SECOND


def test_utc_does_not_fall_when_reading_the_clocks_takes_longer():
    clock = Clock()
    arrival = ArrivalClock(clock)
    stamps = [arrival.stamp(0)[1]]
    for offset_ns in (-1_000_000, 500_000, -2_000_000, 0):
        clock.now_ns += 1000
        clock.utc_offset_ns += offset_ns
        stamps.append(arrival.stamp(0)[1])
    assert all(b > a for a, b in itertools.pairwise(stamps))


@pytest.mark.parametrize(
    ("types", "frames"),
    [
        ("IPPPPPP", 0),
        ("IBPBPBP", 2),
        ("IBBPBBP", 3),
        ("IBBBPBBBP", 5),
        ("IBPBBBPBP", 5),
        ("IB", 2),
        ("I" + "B" * 40 + "I", 0),
    ],
)
def test_reordered_frames_are_counted_by_their_types(types, frames):
    reordering = Reordering()
    assert [reordering.update(each) for each in types][-1] == frames
