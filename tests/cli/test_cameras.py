"""`check` and `replay` of a configuration with several cameras."""

from __future__ import annotations

import json
import re

import pytest

from edge_app import config
from edge_app.cli import main
from edge_app.cli.check import check
from tests.conftest import PROJECT

CLIP = str(PROJECT / "models/digits/sample.mp4")
TEXT = """
cameras:
  - {name: front, source: {type: synthetic, width: 640, height: 480}}
  - {name: yard, source: {type: synthetic, width: 1280, height: 720}, clips: {enabled: true}}
model: {path: PROJECT/models/digits}
"""


def test_check_shows_every_camera_and_the_sum_of_their_memory(config_file):
    found = check(config.load(config_file(TEXT)), "rk3588")
    sources = [finding.text for finding in found if finding.area == "source"]
    assert sources == ["front: synthetic: first frame 640x480 bgr", "yard: synthetic: first frame 1280x720 bgr"]
    assert len([finding for finding in found if finding.area == "model"]) == 1
    memory = "\n".join(finding.text for finding in found if finding.area == "memory")
    assert float(re.search(r"([\d.]+) MiB ram  camera yard", memory)[1]) > 8
    assert "camera front" not in memory


def test_replay_of_several_cameras_needs_the_name_of_one(config_file, capfd: pytest.CaptureFixture[str]):
    path = str(config_file(TEXT))
    assert main(["replay", CLIP, "-c", path]) == 2
    assert capfd.readouterr().err.splitlines()[-1].endswith("expected --camera front or yard")
    assert main(["replay", CLIP, "-c", path, "--camera", "yard", "--max-frames", "1"]) == 0
    assert json.loads(capfd.readouterr().out.splitlines()[0])["source"] == "yard"
