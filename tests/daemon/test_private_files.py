"""Modes of all files that a running daemon creates, with the most permissive umask."""

from __future__ import annotations

import os
import signal
import stat
from pathlib import Path

import pytest

from tests.running import Running

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 20, mask: [[[0, 0], [1, 0], [1, 1], [0, 1]]]}
model: {path: PROJECT/models/digits, backend: onnx}
reuse: {mode: auto}
rules: [{name: camera, type: scene, head: scene, ok: ok, after_s: 0, min_score: 0}]
snapshots: {enabled: true}
publish: {results: all, status_every_s: 1}
sinks: [{type: jsonl, path: state/out.jsonl, max_mb: 0.01}, {type: http, url: "http://127.0.0.1:1/"}]
"""


@pytest.fixture(autouse=True)
def _open_umask():
    previous = os.umask(0)
    yield
    os.umask(previous)


def open_to_others(folder: Path) -> list[str]:
    """Every entry under a folder, the folder included, with access for group or others."""
    found = []
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.lstat().st_mode)
        if mode & 0o077:
            found.append(f"{mode:04o} {path.relative_to(folder.parent)}")
    return found


@pytest.mark.parametrize("existing", [False, True])
def test_all_files_of_a_daemon_are_private(config_file, existing):
    path = config_file(TEXT)
    state = path.parent / "state"
    if existing:
        state.mkdir(mode=0o777)
    with Running(path, "--health-file", str(path.parent / "health.json")) as running:
        running.wait_for("READY=1")
        running.until(lambda: list(state.glob("snapshots/*.jpg")) and list(state.glob("tune/costs/*/*.yaml")))
        running.until(lambda: (state / "out.jsonl.1").exists() and (state / "outbox.db").exists())
        assert open_to_others(state) == []
        assert (state / "control.sock").exists()
        running.stop(signal.SIGTERM)
    assert open_to_others(state) == []
    assert stat.S_IMODE((path.parent / "health.json").stat().st_mode) == 0o600
