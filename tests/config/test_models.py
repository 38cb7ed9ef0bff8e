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


ONLY = "source: {type: synthetic}\n"
CODES = "  codes: {family: codes, kinds: [qr], every_s: 0.5, max_area: 0.5}\n"


def problems_of(path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    return [text.removeprefix(f"{path}:") for text in caught.value.problems]


@pytest.mark.parametrize("start", [BASE, ONLY + "heads:\n"])
def test_a_head_without_a_network_is_named_with_its_family(config_file, start):
    """Also without a model."""
    loaded = config.load(config_file(start + CODES))
    head, spec = loaded.heads["codes"], loaded.manifest.heads["codes"]
    assert list(loaded.heads) == ["codes"]
    assert (spec.family, spec.reads_image, spec.labels[0]) == ("codes", True, "qr")
    assert (head.options["kinds"], head.common.every_s, head.boxes.max_area) == (("qr",), 0.5, 0.5)


def test_it_runs_beside_the_heads_of_a_model_and_with_another_model(config_file):
    path = config_file(BASE + "  digits: {}\n" + CODES)
    assert list(config.load(path).heads) == ["digits", "codes"]
    assert list(config.load(path, model=PROJECT / "models/digits").heads) == ["digits", "codes"]


def test_rules_and_tracking_know_its_labels(config_file):
    rule = "{name: seen, type: zone, head: codes, labels: [qr], polygon: [[0, 0], [1, 0], [1, 1]]}"
    rules = f"track: {{head: codes}}\nrules: [{rule}]\n"
    assert len(config.load(config_file(ONLY + "heads:\n" + CODES + rules)).rules) == 1
    wrong = rules.replace("[qr]", "[qrs]")
    assert "has no class 'qrs'; did you mean 'qr'?" in problems_of(config_file(ONLY + "heads:\n" + CODES + wrong))[0]


@pytest.mark.parametrize(
    ("head", "problem"),
    [
        ("codes: {family: code}", "4: heads.codes.family: unknown family 'code'; did you mean 'codes'?"),
        ("codes: {family: [codes]}", "4: heads.codes.family: found"),
        (
            "codes: {family: yolo}",
            "4: heads.codes.family: family 'yolo' decodes the outputs of a network; expected it in model.yaml, or one "
            "without",
        ),
        ("digits: {family: codes}", "4: heads.digits: found a family, but the model has a head of this name; expected "
         "another name, or no family"),
        ("codes: {family: codes, kinds: [qrx]}", "4: heads.codes.kinds[0]: found 'qrx'; expected qr or micro_qr or"),
        ("codes: {family: codes, scores: 1}", "4: heads.codes: unknown option 'scores'; expected one of: aspect"),
        ("'a/b': {family: codes}", "4: heads.a/b.family: found the head 'a/b'; expected 1 to 64 of A-Z a-z 0-9 . _ -"),
    ],
)  # fmt: skip
def test_mistakes_in_a_head_without_a_network_are_one_line(config_file, head, problem):
    (found,) = problems_of(config_file(f"{BASE}  {head}\n"))
    assert found.startswith(problem)


def test_without_a_model_a_mistaken_family_is_the_only_problem(config_file):
    assert problems_of(config_file(ONLY + "heads:\n  codes: {family: cods}\n")) == [
        "3: heads.codes.family: unknown family 'cods'; did you mean 'codes'?"
    ]


def test_without_a_model_and_such_a_head_the_model_is_missing(config_file):
    assert any("model" in problem for problem in problems_of(config_file(ONLY + "heads: {digits: {}}\n")))


def test_model_yaml_has_no_head_without_a_network(tmp_path, config_file):
    (tmp_path / "model.yaml").write_text(
        "format: 1\nname: m\ninput: {width: 32, height: 32}\nheads: {codes: {family: codes, graph: {onnx: a.onnx}}}\n"
    )
    (problem,) = problems_of(config_file(f"source: {{type: synthetic}}\nmodel: {{path: {tmp_path}}}\n"))
    assert (
        "heads.codes.family: 'codes' has no network; expected it in config.yaml, as heads: {codes: {family: codes}}"
        in problem
    )
