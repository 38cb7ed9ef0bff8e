"""Hostile files, by the command line: exit code 2 and one line, at once, with 1 GiB of memory."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.sources.test_limits import png

TIMEOUT_S = 60  # a machine that is busy with other tests; the command takes 1 s
CLIP = PROJECT / "models/digits/sample.mp4"


def limit_memory() -> None:
    resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))


def edge_app(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edge_app.cli", *map(str, arguments)]
    return subprocess.run(
        command, cwd=PROJECT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False, preexec_fn=limit_memory
    )


def copy_model(folder: Path) -> Path:
    shutil.copytree(PROJECT / "models/digits", folder, ignore=shutil.ignore_patterns("sample*"))
    return folder


def picture_bomb(folder: Path) -> tuple[object, ...]:
    (folder / "bomb.png").write_bytes(png(20_000, 20_000))
    return ("replay", folder)


def configuration_is_a_pipe(folder: Path) -> tuple[object, ...]:
    os.mkfifo(folder / "bomb.yaml")
    return ("run", "-c", folder / "bomb.yaml")


def clip_is_a_pipe(folder: Path) -> tuple[object, ...]:
    os.mkfifo(folder / "bomb.mp4")
    return ("replay", folder / "bomb.mp4")


def results_go_to_a_pipe(folder: Path) -> tuple[object, ...]:
    os.mkfifo(folder / "bomb.jsonl")
    return ("replay", CLIP, "--out", folder / "bomb.jsonl")


def graph_is_endless(folder: Path) -> tuple[object, ...]:
    path = copy_model(folder / "model") / "fused.onnx"
    path.unlink()
    path.symlink_to("/dev/zero")
    return ("replay", CLIP, "--model", folder / "model")


def labels_are_endless(folder: Path) -> tuple[object, ...]:
    model = copy_model(folder / "model")
    text = (model / "model.yaml").read_text(encoding="utf-8")
    text = text.replace("labels: [panel]", "labels: bomb.txt")
    (model / "model.yaml").write_text(text[: text.index("\nsha256:")] + "\n", encoding="utf-8")
    (model / "bomb.txt").symlink_to("/dev/zero")
    return ("replay", CLIP, "--model", model)


CASES = (
    picture_bomb,
    configuration_is_a_pipe,
    clip_is_a_pipe,
    results_go_to_a_pipe,
    graph_is_endless,
    labels_are_endless,
)


@pytest.mark.parametrize("case", CASES, ids=lambda each: each.__name__)
def test_a_hostile_file_is_one_line(tmp_path: Path, case: Callable[[Path], tuple[object, ...]]):
    done = edge_app(*case(tmp_path))
    assert done.returncode == 2, done.stderr
    (line,) = done.stderr.splitlines()
    assert "bomb" in line or "fused.onnx" in line
