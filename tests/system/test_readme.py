"""The README's first command, exactly, in a fresh clone: installs everything and reads real digits."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.test_readme import COMMANDS

pytestmark = pytest.mark.system


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """The files that git tracks, as they are in the working tree."""
    names = subprocess.run(["git", "ls-files", "-z"], cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    folder = tmp_path / "clone"
    for name in filter(None, names.split("\0")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((PROJECT / name).read_bytes())
    return folder


def test_the_first_command_reads_the_sample_clip(clone: Path):
    done = subprocess.run(
        ["sh", "-c", COMMANDS[0]], cwd=clone, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    messages = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    results = [message["heads"]["digits"]["detections"] for message in messages if message["kind"] == "result"]
    numbers = ["".join(d["label"] for d in sorted(found, key=lambda d: d["box"][0])) for found in results]
    assert "4071" in numbers
