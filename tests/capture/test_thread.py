"""Capture with real sources: the synthetic camera fails, freezes and hangs on demand."""

import random
import re
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
from tests import plugins

SMALL = {"width": 64, "height": 48}
NO_BACKOFF = Backoff(0.001, 0.002)
TIMEOUT_S = 20.0  # far longer than any test takes, for a machine under load


def capture(type_="synthetic", *, clock=None, common=None, backoff=NO_BACKOFF, prefetch=2, **options):
    if type_ == "synthetic":
        options = {**SMALL, **options}
    source = config.SourceConfig(config.SourceCommon(type_, **(common or {})), config.PluginConfig(type_, options))
    return Capture(source, clock or SystemClock(), prefetch=prefetch, backoff=backoff, rng=random.Random(0))


def read_until(running, condition):
    """Read until condition(stats) is true. Returns the frames."""
    frames = []
    deadline_s = time.monotonic() + TIMEOUT_S
    while not condition(running.stats()):
        assert time.monotonic() < deadline_s, running.stats()
        frame = running.read(0.02)
        if frame is not None:
            frames.append(frame)
    return frames


def read_all(running, pause_s=0.0):
    frames = []
    try:
        while True:
            frame = running.read(TIMEOUT_S)
            assert frame is not None
            frames.append(frame)
            time.sleep(pause_s)
    except EndOfClip:
        return frames


def capture_threads():
    return [thread for thread in threading.enumerate() if thread.name == "capture"]


# Clips


def test_a_clip_is_read_in_order_without_loss():
    expected = Synthetic(ClipClock(), pace="fast", **SMALL)
    with capture(clock=ClipClock(), frames=40, pace="fast") as running:
        for index in range(40):
            if index % 10 == 0:
                time.sleep(0.01)
            frame, direct = running.read(TIMEOUT_S), expected.read(1.0)
            assert (frame.sequence, frame.captured_ns) == (index, direct.captured_ns)
            np.testing.assert_array_equal(frame.pixels, direct.pixels)
        for _ in range(2):
            with pytest.raises(EndOfClip):
                running.read(TIMEOUT_S)
        stats = running.stats()
    assert (stats.frames, stats.dropped, stats.failures, stats.state) == (40, 0, 0, "ended")
    assert stats.last_frame_ns == 3_900_000_000


def test_a_clip_is_read_ahead_up_to_prefetch(tmp_path):
    for index in range(8):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.full((8, 8, 3), index, np.uint8))
    with capture("images", path=tmp_path, pace="fast", prefetch=2) as running:
        assert running.read(TIMEOUT_S).sequence == 0
        time.sleep(0.1)  # 1 and 2 are queued, the thread holds 3
        for index in range(4, 8):
            (tmp_path / f"{index}.png").unlink()
        assert [running.read(TIMEOUT_S).sequence for _ in range(3)] == [1, 2, 3]
        with pytest.raises(EndOfClip):
            running.read(TIMEOUT_S)


def test_a_broken_clip_delivers_its_frames_then_raises(tmp_path):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for index in range(10):
        writer.write(np.random.default_rng(index).integers(0, 256, (48, 64, 3), np.uint8))
    writer.release()
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 3 // 4])
    with capture("video", path=path, pace="fast") as running:
        assert [running.read(TIMEOUT_S).sequence for _ in range(3)] == [0, 1, 2]
        with pytest.raises(ClipError, match=r"clip\.avi: is truncated after frame"):
            read_until(running, lambda _: False)
        assert "is truncated" in running.stats().last_error
        assert running.stats().missing == 10 - running.stats().frames


def test_a_damaged_picture_of_a_folder_is_skipped_and_counted(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"{index}.png"), np.zeros((8, 8, 3), np.uint8))
    (tmp_path / "1.png").write_bytes(b"")
    with capture("images", path=tmp_path, pace="fast") as running:
        assert [running.read(TIMEOUT_S).sequence for _ in range(2)] == [0, 1]
        with pytest.raises(EndOfClip):
            running.read(TIMEOUT_S)
        assert (running.stats().missing, running.stats().frames) == (1, 2)


def test_an_unusable_file_is_rejected_at_start():
    with pytest.raises(ClipError, match="/nonexistent: no such file"):
        capture("video", path=Path("/nonexistent")).start()
    with pytest.raises(ConfigError, match="expected rtsp://"):
        capture("rtsp", url="http://cam").start()


@pytest.mark.parametrize("format_", ["bgr", "nv12"])
def test_frames_have_the_configured_name_and_geometry(format_):
    common = {"name": "gate", "rotate": 90, "crop": (0.0, 0.0, 1.0, 0.5), "mask": (((0, 0), (1, 0), (1, 1), (0, 1)),)}
    with capture(frames=2, pace="fast", format=format_, common=common) as running:
        frames = read_all(running)
    for frame in frames:
        assert (frame.source, frame.format, frame.width, frame.height) == ("gate", format_, 48, 32)
        assert not frame.image.any()


def test_read_returns_none_after_the_timeout():
    with capture(fps=0.01) as running:
        assert running.read(TIMEOUT_S).sequence == 0
        started_s = time.monotonic()
        assert running.read(0.05) is None
        assert time.monotonic() - started_s < 1.0


# Live sources


def test_a_live_source_keeps_the_latest_frame_and_counts_dropped_ones():
    with capture(live=True, frames=30, fps=500) as running:
        deadline_s = time.monotonic() + TIMEOUT_S
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


def test_a_lost_camera_is_reconnected_and_sequence_numbers_continue():
    with capture(live=True, fps=200, fail_at=5) as running:
        frames = read_until(running, lambda stats: stats.reconnects >= 3)
        stats = running.stats()
    numbers = [frame.sequence for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 15
    assert stats.failures >= 3
    assert stats.last_error == "synthetic: fails at frame 5 (fail_at)"


def test_an_absent_camera_raises_if_required():
    with capture(live=True, fail_at=0) as running, pytest.raises(SourceError, match="fails at frame 0"):
        running.read(TIMEOUT_S)


def test_an_absent_camera_is_retried_if_configured():
    with capture(live=True, fail_at=0, common={"connect": "retry"}) as running:
        assert read_until(running, lambda stats: stats.failures >= 5) == []
        stats = running.stats()
    assert (stats.state, stats.reconnects, stats.frames, stats.last_frame_ns) == ("lost", 0, 0, None)


def test_a_hung_reader_is_abandoned_and_replaced():
    with capture(live=True, fps=200, hang_at=3, hang_after_s=0.1) as running:
        frames = read_until(running, lambda stats: stats.abandoned >= 2 and stats.reconnects >= 2)
        stats = running.stats()
    numbers = [frame.sequence for frame in frames]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] >= 6
    assert stats.last_error == "camera: hung, no answer for 0.1 s"


def test_waiting_to_reconnect_does_not_count_as_hung():
    with capture(live=True, fps=500, fail_at=1, hang_after_s=0.05, backoff=Backoff(0.5, 0.5)) as running:
        read_until(running, lambda stats: stats.reconnects >= 1)  # 0.42 s later, by the seed
        assert running.stats().abandoned == 0


def test_too_many_hung_readers_raise():
    before = len(capture_threads())
    running = capture(live=True, fps=500, hang_at=1, hang_after_s=0.05)
    with running, pytest.raises(SourceError, match="5 threads hang; only a new process helps"):
        read_until(running, lambda stats: False)
    assert running.stats().abandoned == 5
    assert len(capture_threads()) - before == 5


def test_a_camera_that_hangs_from_the_start_raises_if_required():
    with capture(live=True, hang_at=0, hang_after_s=0.05) as running, pytest.raises(SourceError, match="no answer"):
        read_until(running, lambda stats: False)


def test_a_frozen_image_leads_to_a_reconnect():
    states = []
    with capture(live=True, fps=100, freeze_at=3, frozen_after_s=0.1) as running:

        def reconnected(stats):
            states.append(stats.state)
            return stats.reconnects >= 1

        read_until(running, reconnected)
        stats = running.stats()
    assert states.index("frozen") > states.index("running")
    assert "lost" not in states
    assert stats.last_error.startswith("camera: the image has not changed for 0.1")


def test_an_image_that_changes_after_the_reconnect_is_running():
    with capture(live=True, fps=100, freeze_at=30, frozen_after_s=0.1) as running:
        read_until(running, lambda stats: stats.reconnects >= 1 and stats.state == "running")


def test_a_frozen_image_is_ignored_by_default():
    with capture(live=True, fps=500, freeze_at=0) as running:
        read_until(running, lambda stats: stats.frames + stats.dropped >= 100)
        assert running.stats().failures == 0


def test_a_silent_source_is_reconnected():
    with capture(live=True, fps=0.1, silent_after_s=0.1) as running:
        frames = read_until(running, lambda stats: stats.reconnects >= 2)
        stats = running.stats()
    assert [frame.sequence for frame in frames] == list(range(len(frames)))
    assert stats.last_error.startswith("camera: no frame for 0.")


def test_stale_frames_lead_to_a_reconnect():
    clock = ClipClock()
    with capture(live=True, clock=clock, fps=100, silent_after_s=5.0) as running:
        read_until(running, lambda stats: stats.frames >= 1)
        clock.advance(60 * 10**9)
        frames = read_until(running, lambda stats: stats.reconnects >= 1 and stats.frames >= 3)
        assert running.stats().last_error == "camera: frames arrive 60.0 s late; at most 5 s"
    assert frames[-1].captured_ns >= 60 * 10**9


def test_frames_of_a_slow_stream_may_be_older_because_coding_holds_some_of_them():
    """At 12 frames a second, eight frames are 0.67 s."""
    clock = ClipClock()
    with capture(live=True, clock=clock, fps=12, silent_after_s=5.0) as running:
        read_until(running, lambda stats: stats.frames >= 2)
        clock.advance(5_500_000_000)
        read_until(running, lambda stats: stats.frames >= 4)
        assert running.stats().failures == 0


def test_since_ns_is_the_time_of_the_state_change():
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
def test_close_ends_the_thread_in_every_wait(options):
    before = len(capture_threads())
    with capture(backoff=Backoff(3600.0, 3600.0), **options) as running:
        assert running.read(TIMEOUT_S) is not None
        time.sleep(0.05)
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 1.5
    assert len(capture_threads()) == before
    assert running.stats().abandoned == 0
    running.close()


def test_close_abandons_a_hung_reader():
    with capture(live=True, fps=500, hang_at=1) as running:
        assert running.read(TIMEOUT_S) is not None
        time.sleep(0.05)
    assert running.stats().abandoned == 1


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ("read", r"camera: KeyError \(raises\.py:\d+\)"),
        ("build", r"camera: source: sources 'raises' \(.*\): the constructor raised KeyError \(raises\.py:\d+\)"),
    ],
)
def test_a_live_source_is_reconnected_after_an_exception_of_a_library(tmp_path, monkeypatch, caplog, place, expected):
    (tmp_path / "fault").write_text("")
    monkeypatch.setenv("MISCHIEF", str(tmp_path / "fault"))
    plugins.install()
    with capture("raises", word="hunter2") as running:
        read_until(running, lambda stats: stats.frames > 0)
        (tmp_path / "fault").write_text(place)
        read_until(running, lambda stats: re.match(expected, stats.last_error or ""))
        (tmp_path / "fault").write_text("")
        read_until(running, lambda stats: stats.reconnects > 0 and stats.state == "running")
    assert "hunter2" not in caplog.text


def test_an_error_of_the_constructor_names_the_place_in_the_configuration():
    options = {"url": "rtsp://127.0.0.1:0/"}
    source = config.SourceConfig(config.SourceCommon("rtsp"), config.PluginConfig("rtsp", options, "config.yaml:7"))
    with pytest.raises(ConfigError) as caught:
        Capture(source, SystemClock()).start()
    assert str(caught.value) == "config.yaml:7: source.url: found the port 0; expected 1 to 65535"
