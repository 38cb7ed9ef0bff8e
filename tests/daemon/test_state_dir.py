"""state_dir: created private, corrected if it is the program's own, otherwise reported."""

from __future__ import annotations

import logging
import os
import stat
from pathlib import Path

import pytest

from edge_app.daemon.state_dir import make_private, private_umask


@pytest.fixture(autouse=True)
def _open_umask():
    previous = os.umask(0)
    yield
    os.umask(previous)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_umask_is_private_in_the_block_and_restored_after_it(tmp_path: Path):
    with private_umask():
        (tmp_path / "file").touch()
        (tmp_path / "folder").mkdir()
    (tmp_path / "after").touch()
    assert [mode(tmp_path / name) for name in ("file", "folder", "after")] == [0o600, 0o700, 0o666]


def test_creates_a_private_folder(tmp_path: Path):
    make_private(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


@pytest.mark.parametrize("entries", [[], ["outbox.lock"], ["tune", "other"]])
def test_corrects_the_mode_of_an_empty_folder_and_of_an_earlier_run(tmp_path: Path, entries):
    (tmp_path / "state").mkdir()
    for name in entries:
        (tmp_path / "state" / name).touch()
    make_private(tmp_path / "state")
    assert mode(tmp_path / "state") == 0o700


@pytest.mark.parametrize(("before", "entries"), [(0o755, ["config.yaml"]), (0o1777, ["outbox.lock"]), (0o1777, [])])
def test_warns_about_a_folder_with_other_purposes(tmp_path: Path, caplog, before, entries):
    (tmp_path / "state").mkdir()
    (tmp_path / "state").chmod(before)
    for name in entries:
        (tmp_path / "state" / name).touch()
    make_private(tmp_path / "state")
    assert mode(tmp_path / "state") == before
    assert "expected 0700" in caplog.text


def test_a_private_folder_is_not_reported(tmp_path: Path, caplog):
    caplog.set_level(logging.INFO)
    make_private(tmp_path / "state")
    make_private(tmp_path / "state")
    assert not caplog.records


@pytest.mark.parametrize("path", ["file", "file/state", "x" * 300])
def test_a_folder_that_cannot_be_created_is_reported(tmp_path: Path, caplog, path):
    (tmp_path / "file").touch()
    make_private(tmp_path / path)
    assert "cannot be created" in caplog.text
