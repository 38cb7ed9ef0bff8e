"""Having clips encoded: programs that fail, hang or fill the disk."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.clips import worker as module
from edge_app.clips.encoders import Encoder
from edge_app.clips.folder import ClipFolder
from edge_app.clips.jpeg import Compressor
from edge_app.clips.worker import EncodingWorker, Job
from edge_app.config.clips import ClipsConfig
from tests.clips.video import frame

SETTINGS = ClipsConfig(enabled=True, max_mb=1)


def shell(name: str, script: str) -> Encoder:
    """An encoder that is a shell script. $0: the file."""
    return Encoder(name, ".mp4", lambda path, rate: ["sh", "-c", script, str(path)])


COPY = shell("copy", 'exec cat > "$0"')
STILLS = [Compressor(64, 50, 10**6).compress(frame(i, 5, width=64, height=48)) for i in range(10)]


@pytest.fixture
def run(tmp_path: Path):
    """`run(encoder, …)` encodes clips one after another. Returns the worker."""
    workers = []

    def encode(*encoders: Encoder, clips: int = 1, settings: ClipsConfig = SETTINGS) -> EncodingWorker:
        worker = EncodingWorker(ClipFolder(tmp_path / "clips", 10**6), settings, encoders)
        workers.append(worker)
        for number in range(clips):
            worker.submit(Job(f"door-{number}", (f"door-{number}",), STILLS))
            until(lambda: worker.written + worker.dropped > number)  # noqa: B023
        return worker

    yield encode
    for worker in workers:
        worker.close()


def until(condition, timeout_s: float = 20.0) -> None:
    end_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.005)


def files(tmp_path: Path) -> list[str]:
    return sorted(os.listdir(tmp_path / "clips"))


def test_the_program_gets_every_image_at_the_lowest_priority(run, tmp_path):
    nice = shell("nice", 'cat > "$0"; nice > "$0.txt"')
    worker = run(nice)
    assert (tmp_path / "clips/door-0.mp4").read_bytes() == b"".join(still.jpeg for still in STILLS)
    assert (tmp_path / "clips/.door-0.mp4.txt").read_text(encoding="ascii") == "19\n"
    assert worker.last_error is None


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("kill -SEGV $$", "ended with -11"),
        ("cat > /dev/null; echo 'no such codec' >&2; exit 1", "no such codec"),
        ("exit 0", "ended with 0"),
        ('cat > /dev/null; : > "$0"', "ended with 0"),
    ],
    ids=["crashes", "fails", "reads nothing", "writes nothing"],
)
def test_the_next_encoder_replaces_one_that_fails(run, tmp_path, caplog, script, error):
    worker = run(shell("bad", script), COPY, clips=2)
    assert (worker.written, worker.dropped, worker.encoder) == (2, 0, "copy")
    assert files(tmp_path) == ["door-0.mp4", "door-1.mp4"]
    assert caplog.messages == [f"clips: bad: {error}; using copy"]


def test_a_program_that_does_not_exist_is_replaced(run):
    missing = Encoder("missing", ".mp4", lambda path, rate: ["/nonexistent/encoder"])
    assert run(missing, COPY).written == 1


def test_a_program_that_hangs_is_killed_and_replaced_if_it_hangs_again(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_TIMEOUT_S", 0.2)
    worker = run(shell("hangs", 'echo half > "$0"; exec sleep 60'), COPY, clips=2)
    assert (worker.dropped, worker.written, worker.encoder) == (1, 1, "copy")
    assert files(tmp_path) == ["door-1.mp4"]


def test_a_clip_without_any_working_encoder_is_dropped_and_reported_once(run, tmp_path, caplog):
    worker = run(shell("bad", "exit 1"), clips=3)
    assert (worker.written, worker.dropped) == (0, 3)
    assert worker.last_error == "clip dropped: bad: ended with 1"
    assert caplog.messages == ["clips: clip dropped: bad: ended with 1"]
    assert files(tmp_path) == []


def test_a_full_disk_drops_the_clip_and_keeps_the_encoder(run, tmp_path):
    full = shell("full", "cat > /dev/null; echo 'av: No space left on device' >&2; exit 1")
    worker = run(full, COPY, clips=2)
    assert (worker.dropped, worker.encoder) == (2, "full")
    assert worker.last_error == "clip dropped: no space left on the disk"
    assert files(tmp_path) == []


def test_a_clip_larger_than_the_limit_is_not_written(run, tmp_path):
    worker = run(COPY, settings=replace(SETTINGS, max_mb=0.001))
    assert (worker.written, worker.dropped) == (0, 1)
    assert files(tmp_path) == []


def test_clips_that_arrive_too_fast_are_dropped_and_counted(run):
    worker = run(shell("slow", 'sleep 0.3; cat > "$0"'), clips=0)
    for number in range(6):
        worker.submit(Job(f"door-{number}", ("door",), STILLS))
    until(lambda: worker.written + worker.dropped == 6)
    assert worker.dropped >= 3
    assert worker.memory_bytes == 0 or worker.written < 2


def test_a_folder_that_cannot_be_created_drops_clips(tmp_path):
    (tmp_path / "file").touch()
    worker = EncodingWorker(ClipFolder(tmp_path / "file" / "clips", 10**6), SETTINGS, [COPY])
    worker.submit(Job("door-0", ("door-0",), STILLS))
    until(lambda: worker.dropped == 1)
    assert "folder" in worker.last_error or "directory" in worker.last_error.lower()
    worker.close()
