"""Debian 12's Python packages are sufficient: numpy 1.24, OpenCV 4.6, PyYAML 6.0; only onnxruntime comes from PyPI.

Debian packages: python3-venv python3-numpy python3-opencv python3-yaml.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.system

PYTHON = "/usr/bin/python3"
PROBE = "import cv2, numpy, yaml; print(numpy.__version__, cv2.__version__)"


@pytest.fixture(scope="module")
def edge_app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command, installed without dependencies; the distribution's packages provide them."""
    if subprocess.run([PYTHON, "-c", PROBE], capture_output=True, check=False).returncode:
        pytest.skip("needs the Debian packages python3-numpy, python3-opencv and python3-yaml")
    folder = tmp_path_factory.mktemp("debian")
    run(PYTHON, "-m", "venv", "--system-site-packages", folder)
    run(folder / "bin/pip", "install", "-q", "--no-deps", "onnxruntime==1.16.3", "flatbuffers", "packaging", "protobuf")
    run(folder / "bin/pip", "install", "-q", "--no-deps", PROJECT)
    return folder / "bin/edge-app"


def run(*command: object) -> str:
    done = subprocess.run(
        [str(c) for c in command], cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_shipped_model_passes_check(edge_app: Path):
    assert "FAIL" not in run(edge_app, "check")


def test_a_replay_gives_the_same_results_as_here(edge_app: Path):
    import sys

    there = run(edge_app, "replay", "models/digits/sample.mp4", "--max-frames", 20)
    here = run(sys.executable, "-m", "edge_app.cli", "replay", "models/digits/sample.mp4", "--max-frames", 20)
    assert labels(there) == labels(here)
    assert sum(map(len, labels(there))) > 40


def labels(lines: str) -> list[list[str]]:
    messages = [json.loads(line) for line in lines.splitlines()]
    return [
        sorted(d["label"] for d in message["heads"]["digits"]["detections"])
        for message in messages
        if message["kind"] == "result"
    ]
