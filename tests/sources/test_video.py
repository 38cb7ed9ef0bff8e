"""video: every frame in order with its presentation time, and one-line errors for unusable files."""

import os
import shutil
import subprocess
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.clock import ClipClock, SystemClock
from edge_app.errors import ClipError, EndOfClip
from edge_app.sources.video import Source


def write_clip(path, frames=12, fps=10.0, codec="MJPG", size=(64, 48)):
    """Gray frames whose brightness increases."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), fps, size)
    assert writer.isOpened()
    rng = np.random.default_rng(0)
    for i in range(frames):
        grain = rng.integers(0, 8, (size[1], size[0], 3), np.uint8)
        writer.write(np.full((size[1], size[0], 3), 10 + 200 * i // frames, np.uint8) + grain)
    writer.release()
    return path


def read_all(source, ends_with=EndOfClip):
    """The frames, and the message of the exception that ends them."""
    frames = []
    try:
        while True:
            frames.append(source.read(1.0))
    except ends_with as exc:
        source.close()
        return frames, str(exc)


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mp4", "mp4v")])
def test_reads_every_frame_once_in_order_with_its_time(tmp_path, name, codec):
    frames, _ = read_all(Source(ClipClock(5), path=write_clip(tmp_path / name, codec=codec), pace="fast"))
    assert [f.sequence for f in frames] == list(range(12))
    assert [f.captured_ns for f in frames] == pytest.approx([5 + i * 100_000_000 for i in range(12)], abs=1000)
    assert [f.utc_ns for f in frames] == [f.captured_ns for f in frames]
    brightness = [float(f.image.mean()) for f in frames]
    assert brightness == sorted(brightness)
    assert brightness[-1] - brightness[0] > 150


def test_reading_a_file_is_deterministic(tmp_path):
    path = write_clip(tmp_path / "clip.mp4", codec="mp4v", fps=29.97)
    first, second = (read_all(Source(ClipClock(), path=path, pace="fast"))[0] for _ in range(2))
    assert [f.captured_ns for f in first] == [f.captured_ns for f in second]
    for a, b in zip(first, second):
        np.testing.assert_array_equal(a.pixels, b.pixels)


def test_the_source_does_not_write_to_delivered_pixels(tmp_path):
    source = Source(ClipClock(), path=write_clip(tmp_path / "clip.avi"), pace="fast")
    first = source.read(1.0)
    before = first.pixels.copy()
    read_all(source)
    np.testing.assert_array_equal(first.pixels, before)


def test_timestamps_continue_when_the_loop_restarts(tmp_path):
    source = Source(ClipClock(), path=write_clip(tmp_path / "clip.avi", frames=3), pace="fast", loop=True)
    frames = [source.read(1.0) for _ in range(7)]
    source.close()
    assert [f.captured_ns for f in frames] == [i * 100_000_000 for i in range(7)]
    np.testing.assert_array_equal(frames[0].pixels, frames[3].pixels)


def test_realtime_holds_frames_back_until_they_are_due(tmp_path):
    clock = SystemClock()
    source = Source(clock, path=write_clip(tmp_path / "clip.avi", frames=5, fps=25.0))
    for _ in range(5):
        assert source.read(1.0).captured_ns <= clock.monotonic_ns()
    source.close()


def test_realtime_returns_none_until_the_frame_is_due(tmp_path):
    source = Source(SystemClock(), path=write_clip(tmp_path / "clip.avi", fps=5.0))
    assert source.read(1.0).sequence == 0
    started_s = time.monotonic()
    assert source.read(0.01) is None
    assert time.monotonic() - started_s < 0.15
    assert source.read(1.0).sequence == 1
    source.close()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg to write a clip with a variable frame rate")
def test_preserves_a_variable_frame_rate(tmp_path):
    even = write_clip(tmp_path / "even.avi", frames=6)
    varied = tmp_path / "varied.mp4"
    timing = "setpts='(N*N/10)/TB'"  # frame n at n * n / 10 s
    command = ["ffmpeg", "-v", "error", "-i", even, "-vf", timing, "-fps_mode", "vfr", "-c:v", "mpeg4", varied]
    subprocess.run(command, check=True)
    frames, _ = read_all(Source(ClipClock(), path=varied, pace="fast"))
    assert [round(f.captured_ns / 1e8) for f in frames] == [n * n for n in range(6)]


def mp4_without_index(path):
    whole = write_clip(path.with_name("whole.mp4"), codec="mp4v").read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") - 4])


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "no such file"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.touch(), "is empty (0 bytes)"),
        (lambda path: path.write_text("This is no video.\n" * 20), "is a text file"),
        (lambda path: path.write_bytes(os.urandom(4096)), "is in a format that cannot be decoded here"),
        (mp4_without_index, "is truncated: an MP4 of"),
        (os.mkfifo, "is not a regular file"),
    ],
)
def test_an_unusable_file_is_a_one_line_error_with_nothing_on_stderr(tmp_path, capfd, make, found):
    path = tmp_path / "clip.mp4"
    make(path)
    with pytest.raises(ClipError) as caught:
        Source(ClipClock(), path=path, pace="fast").read(1.0)
    message = str(caught.value)
    assert message.startswith(f"{path}: {found}")
    assert "expected a video" in message
    assert "\n" not in message
    assert caught.value.exit_code == 2
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(("name", "codec"), [("clip.avi", "MJPG"), ("clip.mkv", "MJPG")])
def test_a_truncated_clip_delivers_its_frames_and_reports_where_it_ends(tmp_path, capfd, name, codec):
    path = write_clip(tmp_path / name, frames=60, codec=codec)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 5])
    frames, message = read_all(Source(ClipClock(), path=path, pace="fast"), ends_with=ClipError)
    assert 10 < len(frames) < 50
    assert message.startswith(f"{path}: is truncated after frame {len(frames) - 1} ")
    missing = int(message.split("): ")[1].split(" bytes are missing")[0])
    assert missing == pytest.approx(len(whole) * 2 // 5, abs=16)
    assert capfd.readouterr().err == ""


@pytest.mark.skipif("EDGE_APP_DATA" not in os.environ, reason="needs vtest.avi in $EDGE_APP_DATA")
def test_reads_a_real_clip_completely():
    path = Path(os.environ["EDGE_APP_DATA"]) / "vtest.avi"
    source = Source(ClipClock(), path=path, pace="fast")
    stamps = [frame.captured_ns for frame in read_all(source)[0]]
    assert len(stamps) == 795
    assert np.diff(stamps) == pytest.approx(1e8, abs=1000)
