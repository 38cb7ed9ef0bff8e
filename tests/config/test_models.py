"""The block `heads`: filters of heads that detect, checked against the model's labels."""

from __future__ import annotations

import json

import cv2
import pytest

from edge_app import config
from edge_app.cli import main
from edge_app.config import BoxConfig
from edge_app.errors import ConfigError
from tests.conftest import PROJECT

BASE = "source: {type: synthetic}\nmodel: {path: PROJECT/models/digits}\nheads:\n"


def test_filters_are_read(config_file):
    text = BASE + "  digits: {labels: ['4', '7'], min_area: 0.001, max_area: 0.2, aspect: [0.2, 1.5], score: 0.3}\n"
    head = config.load(config_file(text)).heads["digits"]
    assert head.boxes == BoxConfig(("4", "7"), 0.001, 0.2, (0.2, 1.5))
    assert head.options["score"] == 0.3


def test_an_option_of_the_family_keeps_its_meaning(config_file):
    head = config.load(config_file(BASE + "  panel: {min_area: 0.01}\n")).heads["panel"]
    assert head.boxes == BoxConfig()
    assert head.options["min_area"] == 0.01


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("digits: {labels: ['77']}", "4: heads.digits.labels: the head has no class '77'; did you mean '7'?"),
        (
            "digits: {min_area: 0.5, max_area: 0.1}",
            "4: heads.digits.min_area: found 0.5, max_area is 0.1; expected min_area <= max_area",
        ),
        ("digits: {min_area: 2}", "4: heads.digits.min_area: found '2'; expected a number 0 to 1"),
        (
            "digits: {aspect: [2, 0.5]}",
            "4: heads.digits.aspect: found [2.0, 0.5]; expected the least width / height, then the greatest",
        ),
    ],
)
def test_wrong_filters_are_rejected(config_file, head, problem):
    path = config_file(f"{BASE}  {head}\n")
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    assert [text.removeprefix(f"{path}:") for text in caught.value.problems] == [problem]


def test_a_head_that_classifies_has_no_filters(config_file):
    with pytest.raises(ConfigError, match=r"heads\.scene: unknown option 'labels'"):
        config.load(config_file(BASE + "  scene: {labels: [ok]}\n"))


def test_a_filtered_label_reaches_neither_results_nor_rules(config_file, tmp_path):
    path = config_file(
        f"device: {{state_dir: {tmp_path}}}\n{BASE}  digits: {{labels: ['4']}}\ntrack: {{head: digits}}\n"
        "rules:\n  - {name: all, type: count, head: digits, stable_s: 0}\nsinks: [{type: jsonl, path: '-'}]\n"
    )
    clip, out, frames = (
        cv2.VideoCapture(str(PROJECT / "models/digits/sample.mp4")),
        tmp_path / "results.jsonl",
        tmp_path / "frames",
    )
    frames.mkdir()
    for number in range(8):
        assert cv2.imwrite(str(frames / f"{number}.png"), clip.read()[1])
    assert main(["replay", str(frames), "-c", str(path), "--out", str(out)]) == 0
    messages = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    results = [m["heads"]["digits"]["detections"] for m in messages if m["kind"] == "result"]
    assert {d["label"] for detections in results for d in detections} == {"4"}
    counted = {label for m in messages if m["kind"] == "event" for label in m["value"].get("labels", {})}
    assert counted == {"4"}
