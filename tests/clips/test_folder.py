"""The files of clips: complete or absent, within the limit."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edge_app.clips.folder import ClipFolder


@pytest.fixture
def folder(tmp_path: Path) -> ClipFolder:
    opened = ClipFolder(tmp_path / "clips", 250)
    opened.prepare()
    return opened


def write(folder: ClipFolder, name: str, size: int = 100) -> None:
    folder.temporary(name).write_bytes(bytes(size))
    folder.add(name)


def test_deletes_the_oldest_clips_over_the_limit(folder):
    for name in ("a.mp4", "b.mp4", "c.webm"):
        write(folder, name)
    assert folder.names() == ["b.mp4", "c.webm"]
    assert sorted(os.listdir(folder.folder)) == ["b.mp4", "c.webm"]
    assert folder.bytes == 200
    assert folder.path("a.mp4") is None
    assert folder.path("b.mp4").stat().st_size == 100


def test_a_start_deletes_what_a_power_cut_left_and_keeps_other_files(folder):
    write(folder, "a.mp4")
    folder.temporary("b.mp4").write_bytes(b"half")
    (folder.folder / "empty.mp4").touch()
    (folder.folder / "notes.txt").write_text("mine", encoding="ascii")
    again = ClipFolder(folder.folder, 250)
    again.prepare()
    assert again.names() == ["a.mp4"]
    assert sorted(os.listdir(folder.folder)) == ["a.mp4", "notes.txt"]


def test_the_order_survives_a_clock_that_is_set_back(folder):
    write(folder, "a.mp4")
    os.utime(folder.folder / "a.mp4", (4e9, 4e9))  # written in 2096, by a wrong clock
    again = ClipFolder(folder.folder, 250)
    again.prepare()
    write(again, "b.mp4")
    third = ClipFolder(folder.folder, 250)
    third.prepare()
    assert third.names() == ["a.mp4", "b.mp4"]
    write(third, "c.mp4")
    assert third.names() == ["b.mp4", "c.mp4"]


def test_a_clip_that_cannot_be_kept_leaves_nothing(folder):
    folder.temporary("a.mp4").write_bytes(b"x")
    (folder.folder / "a.mp4").mkdir()  # the rename fails
    with pytest.raises(OSError, match="directory"):
        folder.add("a.mp4")
    assert os.listdir(folder.folder) == ["a.mp4"]
    assert folder.names() == []


@pytest.mark.parametrize("name", ["../outbox.db", "", ".a.mp4", "/etc/passwd", "a.mp4/../a.mp4"])
def test_only_names_of_clips_have_a_path(folder, name):
    write(folder, "a.mp4")
    assert folder.path(name) is None
