"""ClipReader reads every frame of a clip, in order, on the caller's thread or a few frames ahead."""

import threading

import pytest

from edge_app import config
from edge_app.capture.clips import ClipReader
from edge_app.clock import ClipClock
from edge_app.errors import ClipError, ConfigError, EndOfClip


def reader(type_="synthetic", common=None, prepare=None, **options):
    if type_ == "synthetic":
        options = {"width": 64, "height": 48, "pace": "fast", **options}
    source = config.SourceConfig(
        config.SourceCommon(type_, name="door", **(common or {})), config.PluginConfig(type_, options)
    )
    return ClipReader(source, ClipClock(), prepare=prepare)


def test_frames_that_are_read_ahead_are_the_same():
    options = {"frames": 6, "common": {"rotate": 90, "crop": (0.0, 0.0, 0.5, 1.0)}}
    prepared = []
    with reader(**options) as direct, reader(prepare=prepared.append, **options) as ahead:
        for _ in range(6):
            expected, found = direct.read(0), ahead.read(20.0)
            assert (found.source, found.sequence, found.captured_ns) == (
                "door",
                expected.sequence,
                expected.captured_ns,
            )
            assert (found.pixels == expected.pixels).all()
            assert prepared[expected.sequence] is found
        with pytest.raises(EndOfClip):
            ahead.read(20.0)
        assert ahead.state == "ended"
        assert ahead.stats().frames == 6


def test_reads_every_frame_in_order_then_keeps_raising_end_of_clip():
    threads = threading.active_count()
    with reader(frames=5) as clip:
        assert clip.state == "waiting"
        frames = [clip.read(0) for _ in range(5)]
        assert clip.state == "running"
        for _ in range(2):
            with pytest.raises(EndOfClip):
                clip.read(0)
        assert clip.state == "ended"
        assert threading.active_count() == threads
    assert [frame.sequence for frame in frames] == [0, 1, 2, 3, 4]
    assert {frame.source for frame in frames} == {"door"}
    stats = clip.stats()
    assert (stats.state, stats.frames, stats.dropped) == ("closed", 5, 0)
    assert stats.last_frame_ns == frames[-1].captured_ns


def test_frames_are_rotated_and_cropped():
    with reader(common={"rotate": 90, "crop": (0.0, 0.0, 0.5, 1.0)}) as clip:
        frame = clip.read(0)
    assert (frame.width, frame.height) == (24, 64)


def test_read_returns_none_if_no_frame_is_due():
    with reader(pace="realtime", fps=0.1) as clip:
        assert clip.read(0) is not None
        assert clip.read(0.01) is None
        assert clip.stats().frames == 1


def test_rejects_a_live_source():
    with pytest.raises(ConfigError, match=r"found a live source \(synthetic\); expected a recorded clip"):
        reader(live=True).start()


def test_an_unusable_file_is_rejected_at_start(tmp_path):
    with pytest.raises(ClipError, match="no such file"):
        reader("video", path=tmp_path / "none.mp4").start()


def test_a_broken_clip_raises_clip_error(tmp_path):
    (tmp_path / "text.mp4").write_text("no video")
    with reader("video", path=tmp_path / "text.mp4") as clip:
        with pytest.raises(ClipError):
            clip.read(0)
        assert clip.state == "ended"
