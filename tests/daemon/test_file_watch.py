"""FileWatch: reports a change once, after the file has stopped changing."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge_app.daemon.file_watch import FileWatch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text("a", encoding="ascii")
    return path


def test_reports_a_change_once_and_only_when_two_calls_agree(path: Path):
    watch = FileWatch(path)
    assert not watch.changed()
    path.write_text("ab", encoding="ascii")
    assert [watch.changed() for _ in range(3)] == [False, True, False]


def test_a_file_that_keeps_changing_is_not_reported(path: Path):
    watch = FileWatch(path)
    for length in range(2, 6):
        path.write_text("a" * length, encoding="ascii")
        assert not watch.changed()
    assert watch.changed()


def test_a_missing_file_is_not_a_change_but_its_replacement_is(path: Path):
    watch = FileWatch(path)
    path.unlink()
    assert [watch.changed() for _ in range(3)] == [False] * 3
    path.write_text("new", encoding="ascii")
    assert [watch.changed() for _ in range(2)] == [False, True]
