"""video: goes on after damage, counts what is missing, and follows no jump of the file's times."""

import json
import random

import cv2
import numpy as np
import pytest

from edge_app.clock import ClipClock
from edge_app.errors import ClipError, EndOfClip
from edge_app.sources.video import Source
from tests.cli.test_main import edge_app
from tests.sources.damage import damaged
from tests.sources.test_video import read_all, write_clip

FRAMES = 30


def noise_clip(path, codec):
    """Frames of equal size in bytes, so that damage in the middle hits frames in the middle."""
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), 10.0, (160, 120))
    assert writer.isOpened()
    for index in range(FRAMES):
        writer.write(np.random.default_rng(index).integers(0, 256, (120, 160, 3), np.uint8))
    writer.release()
    return path


def break_frames(path, share=0.5, frames=3):
    """Overwrite the first bytes of compressed frames near a place in the file, so that they cannot be decoded."""
    data = bytearray(path.read_bytes())
    at = int(len(data) * share)
    for _ in range(frames):
        at = data.index(b"\xff\xd8\xff", at + 1)
        data[at : at + 700] = random.Random(1).randbytes(700)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["clip.avi", "clip.mkv", "clip.mov"])
def test_reads_on_after_frames_that_cannot_be_decoded_and_counts_them(tmp_path, caplog, name):
    path = break_frames(noise_clip(tmp_path / name, "MJPG"))
    source = Source(ClipClock(), path=path, pace="fast")
    frames, _ = read_all(source)
    assert len(frames) == FRAMES - 3
    assert [frame.sequence for frame in frames] == list(range(FRAMES - 3))
    assert source.missing == 3
    assert caplog.messages == [f"{path}: frames that could not be decoded: 3; frames read: 27"]


def test_frames_at_the_end_are_counted_too(tmp_path):
    source = Source(ClipClock(), path=break_frames(noise_clip(tmp_path / "clip.avi", "MJPG"), 0.88), pace="fast")
    assert len(read_all(source)[0]) + source.missing == FRAMES
    assert source.missing == 3


def test_a_damaged_clip_that_loops_goes_on_forever(tmp_path, caplog):
    path = break_frames(noise_clip(tmp_path / "clip.avi", "MJPG"))
    source = Source(ClipClock(), path=path, pace="fast", loop=True)
    frames = [source.read(1.0) for _ in range(60)]
    source.close()
    assert min(np.diff([frame.captured_ns for frame in frames])) > 0
    assert len(caplog.messages) == 1


def test_bytes_after_the_end_do_not_matter(tmp_path, caplog):
    for name, codec in (("clip.avi", "MJPG"), ("clip.mp4", "mp4v"), ("clip.mkv", "MJPG")):
        path = write_clip(tmp_path / name, codec=codec)
        data = path.read_bytes()
        for kind in (b"\0\0\1\0gpsX" + bytes(400), random.Random(3).randbytes(30_000), b"$GPRMC,1,2,3\n" * 999):
            path.write_bytes(data + kind)
            source = Source(ClipClock(), path=path, pace="fast")
            assert len(read_all(source)[0]) == 12, (name, kind[:8])
            assert source.missing == 0
    assert caplog.messages == []


def test_a_joined_recording_goes_on_without_a_step_back_in_time(tmp_path, caplog):
    path = write_clip(tmp_path / "clip.mkv", frames=30, codec="MJPG")
    path.write_bytes(damaged(path.read_bytes(), "joined", random.Random(0)))
    stamps = [frame.captured_ns for frame in read_all(Source(ClipClock(), path=path, pace="fast"))[0]]
    assert len(stamps) == 60
    assert np.diff(stamps) == pytest.approx(1e8, abs=2e6)
    assert [message.split(": ", 1)[1] for message in caplog.messages] == [
        "its timestamps jump back by 2.8 s at frame 31; continued without a gap"
    ]


@pytest.mark.parametrize("fps", [None, 4.0])
def test_a_stream_without_a_container_has_the_configured_rate_or_a_warning(tmp_path, caplog, fps):
    path = tmp_path / "clip.mjpeg"
    images = [np.full((48, 64, 3), value, np.uint8) for value in range(0, 200, 20)]
    path.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in images))
    frames, _ = read_all(Source(ClipClock(), path=path, pace="fast", fps=fps))
    assert len(frames) == 10
    assert np.diff([frame.captured_ns for frame in frames]) == pytest.approx(1e9 / (fps or 25))
    assert len(caplog.messages) == (fps is None)
    assert all("has no timestamps; assumed 25 frames per second" in message for message in caplog.messages)


def test_fps_replaces_the_times_of_a_container_in_every_pass(tmp_path):
    source = Source(ClipClock(), path=write_clip(tmp_path / "c.avi", frames=3), pace="fast", fps=2, loop=True)
    stamps = [source.read(1.0).captured_ns for _ in range(7)]
    source.close()
    assert stamps == [i * 500_000_000 for i in range(7)]


def test_random_damage_ends_in_an_error_or_the_end(tmp_path):
    for name, codec in (("a.avi", "MJPG"), ("b.mp4", "mp4v"), ("c.mkv", "MJPG")):
        whole = noise_clip(tmp_path / name, codec).read_bytes()
        for seed, kind in enumerate(("random", "flipped", "zeroed", "hole")):
            path = tmp_path / f"{kind}_{name}"
            path.write_bytes(damaged(whole, kind, random.Random(seed)))
            frames, _ = read_all(Source(ClipClock(), path=path, pace="fast"), (EndOfClip, ClipError))
            assert len(frames) >= 15 or (kind == "hole" and name == "b.mp4"), (kind, name)


def test_replay_reports_missing_frames_and_with_strict_exits_with_2(tmp_path):
    path = break_frames(noise_clip(tmp_path / "clip.avi", "MJPG"))
    done = edge_app("replay", path, "--out", tmp_path / "r.jsonl")
    assert done.returncode == 0
    assert done.stderr.startswith(
        f"{path}: frames that could not be decoded: 3; frames read: 27\nreplay: 27 frames in "
    )
    done = edge_app("replay", path, "--out", tmp_path / "r.jsonl", "--strict")
    assert done.returncode == 2
    assert "replay --strict: found 3 frames that could not be decoded; expected none" in done.stderr
    assert "Traceback" not in done.stderr


def test_replay_stamps_a_raw_clip_at_the_given_rate(tmp_path):
    path = tmp_path / "clip.mjpeg"
    path.write_bytes(cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))[1].tobytes() * 3)
    done = edge_app("replay", path, "--fps", 4)
    assert done.returncode == 0
    assert done.stderr.startswith("replay: 3 frames in ")
    stamps = [message["monotonic_ns"] for message in map(json.loads, done.stdout.splitlines())]
    assert sorted(set(stamps)) == [0, 250_000_000, 500_000_000]
    assert edge_app("replay", path, "--fps", "fast").returncode == 2
