"""The fault `disk`."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from edge_app.pipeline.disk_space import DiskSpace


@pytest.fixture
def free(monkeypatch):
    """`free(bytes)` sets the free space that the system reports."""

    def report(size: int, inodes: int = 5) -> None:
        found = SimpleNamespace(f_bavail=size // 512, f_frsize=512, f_files=10, f_favail=inodes)
        monkeypatch.setattr(os, "statvfs", lambda _: found)

    return report


def test_the_disk_is_full_until_there_is_clearly_room(free):
    space, found = DiskSpace(), []
    for size in (5_000_000, 900_000, 1_500_000, 900_000, 3_000_000, 1_500_000):
        free(size)
        found.append(space.fault(Path("state"), None))
    full = {"full": True, "error": "state: no space left"}
    assert found == [None, full, full, full, None, None]


def test_a_disk_without_inodes_is_full(free):
    free(10**9, inodes=0)
    assert DiskSpace().fault(Path("state"), None) == {"full": True, "error": "state: no inodes left"}


def test_a_problem_of_the_outbox_is_a_fault_although_there_is_room(free):
    free(10**9)
    assert DiskSpace().fault(Path("state"), "read-only") == {"full": False, "error": "read-only"}


def test_a_real_folder_has_room_and_one_that_does_not_exist_is_a_fault(tmp_path):
    assert DiskSpace().fault(tmp_path, None) is None
    assert "No such file" in DiskSpace().fault(tmp_path / "none", None)["error"]
