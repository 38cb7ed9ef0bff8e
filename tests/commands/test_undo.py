"""Changes can be undone after a restart; a damaged or forged history changes nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edge_app.commands import atomic_file
from edge_app.commands.undo import FILE, Files, History

CHANGES = [(Files(b"a: %d" % i, b"\xff" * i), f"version-{i}") for i in range(7)]


def test_the_last_five_changes_survive_a_restart(tmp_path: Path):
    folder = tmp_path / "state"  # does not exist yet
    first = History()
    assert first.read(folder) == []
    first.write(folder, CHANGES)
    assert History().read(folder) == first.read(folder) == CHANGES[-5:]
    first.write(folder, [])
    assert History().read(folder) == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"\xff",
        b'{"format": 2, "changes": []}',
        b'{"format": 1}',
        b'{"format": 1, "changes": 5}',
        b'{"format": 1, "changes": [{"config": 5, "overrides": "", "after": ""}]}',
        b'{"format": 1, "changes": [{"config": "\\ud800", "overrides": "", "after": ""}]}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_an_empty_history(tmp_path: Path, content: bytes):
    (tmp_path / FILE).write_bytes(content)
    assert History().read(tmp_path) == []


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd"), Path.mkdir])
def test_another_file_type_is_an_empty_history(tmp_path: Path, make):
    make(tmp_path / FILE)
    assert History().read(tmp_path) == []


def test_on_a_full_disk_the_changes_stay_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog):
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(atomic_file, "replace", full)
    history = History()
    history.write(tmp_path, CHANGES[:2])
    assert history.read(tmp_path) == CHANGES[:2]
    assert "No space left" in caplog.text
    assert not (tmp_path / FILE).exists()


def test_the_file_is_readable_json(tmp_path: Path):
    History().write(tmp_path, CHANGES[:1])
    stored = json.loads((tmp_path / FILE).read_text(encoding="ascii"))
    assert stored == {"format": 1, "changes": [{"config": "a: 0", "overrides": "", "after": "version-0"}]}
