"""The capture stage against real sources: the shipped synthetic camera, which fails, freezes and hangs on demand."""

import random
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app import config
from edge_app.backoff import Backoff
from edge_app.capture.thread import Capture
from edge_app.clock import ClipClock, SystemClock
from edge_app.errors import ClipError, ConfigError, EndOfClip, SourceError
from edge_app.sources.synthetic import Source as Synthetic

SMALL = {"width": 64, "height": 48}
AT_ONCE = Backoff(0.001, 0.002)
PATIENCE_S = 20.0  # far beyond what any of these take, for a machine under load


def capture(type_="synthetic", *, clock=None, common=None, backoff=AT_ONCE, prefetch=2, **options):
    if type_ == "synthetic":
        options = {**SMALL, **options}
    source = config.SourceConfig(config.SourceCommon(type_, **(common or {})), config.PluginConfig(type_, options))
    return Capture(source, clock or SystemClock(), prefetch=prefetch, backoff=backoff, rng=random.Random(0))


def read_until(running, met):
    """Read until met(stats) is true; returns the frames."""
    frames = []
    deadline_s = time.monotonic() + PATIENCE_S
    while not met(running.stats()):
        assert time.monotonic() < deadline_s, running.stats()
        frame = running.read(0.02)
        if frame is not None:
            frames.append(frame)
    return frames


def read_all(running, pause_s=0.0):
    frames = []
    try:
        while True:
            frame = running.read(PATIENCE_S)
            assert frame is not None
            frames.append(frame)
            time.sleep(pause_s)
    except EndOfClip:
        return frames


def capture_threads():
    return [thread for thread in threading.enumerate() if thread.name == "capture"]


# Clips


def test_a_clip_loses_nothing_and_keeps_the_order_whoever_is_slower():
    expected = Synthetic(ClipClock(), pace="fast", **SMALL)
    with capture(clock=ClipClock(), frames=40, pace="fast") as running:
        for index in range(40):
            if index % 10 == 0:
                time.sleep(0.01)
            frame, direct = running.read(PATIENCE_S), expected.read(1.0)
            assert (frame.sequence, frame.captured_ns) == (index, direct.captured_ns)
            np.testing.assert_array_equal(frame.pixels, direct.pixels)
        for _ in range(2):
            with pytest.raises(EndOfClip):
                running.read(PATIENCE_S)
        stats = running.stats()
    assert (stats.frames, stats.dropped, stats.failures, stats.state) == (40, 0, 0, "ended")
    assert stats.last_frame_ns == 3_900_000_000


def test_a_clip_is_read_ahead_only_as_far_as_asked(tmp_path):
    for index in range(8):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 8, 3), index, np.uint8))
    with capture("images", path=tmp_path, pace="fast", prefetch=2) as running:
        assert running.read(PATIENCE_S).sequence == 0
        time.sleep(0.1)  # 1 and 2 wait, 3 is in the thread's hand
        for index in range(4, 8):
            (tmp_path / f"{index}.png").unlink()
        assert [running.read(PATIENCE_S).sequence for _ in range(3)] == [1, 2, 3]
        with pytest.raises(ClipError, match=r"4\.png: cannot be read"):
            running.read(PATIENCE_S)


def test_a_clip_that_breaks_gives_what_came_before_and_then_its_error(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "3.png").touch()
    with capture("images", path=tmp_path, pace="fast") as running:
        assert [running.read(PATIENCE_S).sequence for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ClipError, match=r"3\.png: is empty"):
            running.read(PATIENCE_S)
        assert "3.png" in running.stats().last_error


def test_a_file_that_cannot_be_used_fails_at_the_start():
    with pytest.raises(ClipError, match="/nonexistent: no such file"):
        capture("video", path=Path("/nonexistent")).start()
    with pytest.raises(ConfigError, match="expected rtsp://"):
        capture("rtsp", url="http://cam").start()


@pytest.mark.parametrize("format_", ["bgr", "nv12"])
def test_frames_come_with_the_configured_name_and_geometry(format_):
    common = {"name": "gate", "rotate": 90, "crop": (0.0, 0.0, 1.0, 0.5), "mask": (((0, 0), (1, 0), (1, 1), (0, 1)),)}
    with capture(frames=2, pace="fast", format=format_, common=common) as running:
        frames = read_all(running)
    for frame in frames:
        assert (frame.source, frame.format, frame.width, frame.height) == ("gate", format_, 48, 32)
        assert not frame.image.any()


def test_none_comes_while_nothing_is_due():
    with capture(fps=0.01) as running:
        assert running.read(PATIENCE_S).sequence == 0
        started_s = time.monotonic()
        assert running.read(0.05) is None
        assert time.monotonic() - started_s < 1.0


# Live sources


def test_of_a_live_source_the_latest_frame_waits_and_the_dropped_are_counted():
    with capture(live=True, frames=30, fps=500) as running:
        deadline_s = time.monotonic() + PATIENCE_S
        while running.stats().state != "ended":
            assert time.monotonic() < deadline_s
            time.sleep(0.01)
        assert [frame.sequence for frame in read_all(running)] == [29]
        stats = running.stats()
    assert (stats.frames, stats.dropped) == (1, 29)


def test_every_frame_of_a_live_source_is_read_or_counted_as_dropped():
    with capture(live=True, frames=60, fps=400) as running:
        frames = read_all(running, pause_s=0.01)
        stats = running.stats()
    assert stats.frames == len(frames)
    assert stats.frames + stats.dropped == 60
    numbers = [frame.sequence for frame in frames]
    assert numbers == sorted(set(numbers))


def test_a_camera_that_is_lost_is_opened_again_and_the_numbers_go_on():
    with capture(live=True, fps=200, fail_at=5) as running:
        frames = read_until(running, lambda stats: stats.reconnects >= 3)
        stats = running.stats()
    numbers = [frame.sequence for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 15
    assert stats.failures >= 3
    assert stats.last_error == "synthetic: fails at frame 5, as fail_at says"


def test_an_absent_camera_ends_the_run_where_it_is_required():
    with capture(live=True, fail_at=0) as running, pytest.raises(SourceError, match="fails at frame 0"):
        running.read(PATIENCE_S)


def test_an_absent_camera_is_waited_for_where_the_user_says_so():
    with capture(live=True, fail_at=0, common={"connect": "retry"}) as running:
        assert read_until(running, lambda stats: stats.failures >= 5) == []
        stats = running.stats()
    assert (stats.state, stats.reconnects, stats.frames, stats.last_frame_ns) == ("lost", 0, 0, None)


def test_a_reader_that_hangs_is_left_behind_and_replaced():
    with capture(live=True, fps=200, hang_at=3, hang_after_s=0.1) as running:
        frames = read_until(running, lambda stats: stats.abandoned >= 2 and stats.reconnects >= 2)
        stats = running.stats()
    numbers = [frame.sequence for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 6
    assert stats.last_error == "camera: hangs, no answer for 0.1 s"


def test_a_reader_that_waits_to_reconnect_does_not_count_as_hanging():
    with capture(live=True, fps=500, fail_at=1, hang_after_s=0.05, backoff=Backoff(0.5, 0.5)) as running:
        read_until(running, lambda stats: stats.reconnects >= 1)  # 0.42 s later, by the seed
        assert running.stats().abandoned == 0


def test_readers_are_not_left_behind_without_end():
    before = len(capture_threads())
    running = capture(live=True, fps=500, hang_at=1, hang_after_s=0.05)
    with running, pytest.raises(SourceError, match="5 readers hang, only a new process helps"):
        read_until(running, lambda stats: False)
    assert running.stats().abandoned == 5
    assert len(capture_threads()) - before == 5


def test_a_camera_that_hangs_from_the_start_ends_the_run_where_it_is_required():
    with capture(live=True, hang_at=0, hang_after_s=0.05) as running, pytest.raises(SourceError, match="no answer"):
        read_until(running, lambda stats: False)


def test_a_picture_that_stands_still_is_noticed_and_leads_to_a_reconnect():
    states = []
    with capture(live=True, fps=100, freeze_at=3, frozen_after_s=0.1) as running:

        def met(stats):
            states.append(stats.state)
            return stats.reconnects >= 1

        read_until(running, met)
        stats = running.stats()
    assert states.index("frozen") > states.index("running")
    assert "lost" not in states
    assert stats.last_error.startswith("camera: the picture has not changed for 0.1")


def test_a_picture_that_moves_again_after_the_reconnect_is_running():
    with capture(live=True, fps=100, freeze_at=30, frozen_after_s=0.1) as running:
        read_until(running, lambda stats: stats.reconnects >= 1 and stats.state == "running")


def test_a_still_picture_is_no_failure_where_nobody_asked():
    with capture(live=True, fps=500, freeze_at=0) as running:
        read_until(running, lambda stats: stats.frames + stats.dropped >= 100)
        assert running.stats().failures == 0


def test_a_source_that_falls_silent_is_opened_again():
    with capture(live=True, fps=0.1, silent_after_s=0.1) as running:
        frames = read_until(running, lambda stats: stats.reconnects >= 2)
        stats = running.stats()
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert stats.last_error.startswith("camera: no frame for 0.")


def test_frames_that_come_late_lead_to_a_reconnect():
    clock = ClipClock()
    with capture(live=True, clock=clock, fps=100, silent_after_s=5.0) as running:
        read_until(running, lambda stats: stats.frames >= 1)
        clock.advance(60 * 10**9)
        frames = read_until(running, lambda stats: stats.reconnects >= 1 and stats.frames >= 3)
        assert running.stats().last_error == "camera: frames arrive 60.0 s late; at most 5 s"
    assert frames[-1].captured_ns >= 60 * 10**9


def test_the_time_of_a_change_of_state_is_kept():
    clock = ClipClock(7)
    with capture(live=True, clock=clock, fps=100) as running:
        assert running.stats().since_ns == 7
        read_until(running, lambda stats: stats.state == "running")
        clock.advance(10)
        assert running.stats().since_ns == 7
    assert (running.stats().state, running.stats().since_ns) == ("closed", 17)


# Closing


@pytest.mark.parametrize(
    "options",
    [{"pace": "fast"}, {"fps": 0.01}, {"live": True, "fps": 100}, {"live": True, "fps": 5, "fail_at": 1}],
    ids=["queue full", "between two frames", "live", "waiting to reconnect"],
)
def test_close_ends_the_thread_whatever_it_waits_for(options):
    before = len(capture_threads())
    with capture(backoff=Backoff(3600.0, 3600.0), **options) as running:
        assert running.read(PATIENCE_S) is not None
        time.sleep(0.05)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 1.5
    assert len(capture_threads()) == before
    assert running.stats().abandoned == 0
    running.close()


def test_a_reader_that_hangs_cannot_stop_close():
    with capture(live=True, fps=500, hang_at=1) as running:
        assert running.read(PATIENCE_S) is not None
        time.sleep(0.05)
    assert running.stats().abandoned == 1
