"""The blocks `track` and `rules`. Options that do not fit the model are rejected with file and line."""

from __future__ import annotations

import pytest

from edge_app import config
from edge_app.config.rules import RuleConfig, TrackConfig
from edge_app.errors import ConfigError

BASE = """\
source: {type: synthetic}
model: {path: PROJECT/models/digits}
track: {head: digits}
rules:
"""
ZONE = "  - {name: door, type: zone, head: digits, polygon: [[0, 0], [1, 0], [1, 1]]}\n"


def problems_of(path):
    with pytest.raises(ConfigError) as caught:
        config.load(path)
    return [problem.removeprefix(f"{path}:") for problem in caught.value.problems]


def test_rules_are_read_in_order_with_their_options(config_file):
    path = config_file(BASE + ZONE + "  - {name: camera, type: scene, head: scene, enabled: false}\n")
    loaded = config.load(path)
    assert loaded.track == TrackConfig("digits")
    polygon = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))
    assert loaded.rules == (
        RuleConfig("door", "zone", True, {"head": "digits", "polygon": polygon}, f"{path}:5"),
        RuleConfig("camera", "scene", False, {"head": "scene"}, f"{path}:6"),
    )


@pytest.mark.parametrize(
    ("rule", "problem"),
    [
        (
            "{name: a, type: zone, head: digits, polygon: [[0, 0], [1, 1]]}",
            "5: rules.a.polygon: found a polygon of 2 points; expected at least 3",
        ),
        (
            "{name: a, type: zone, head: digits, polygon: [[0, 0], [1, 1], [1, 0], [0, 1]]}",
            "5: rules.a.polygon: found a polygon that crosses or touches itself (sides from [0, 0] and "
            "from [1, 0]); expected the corners in order around the outline",
        ),
        (
            "{name: a, type: line, head: digits, line: [[0.5, 0.5], [0.5, 0.5]]}",
            "5: rules.a.line: found a line of length 0 at [0.5, 0.5]; expected two different points",
        ),
        (
            "{name: a, type: line, head: digits, line: [[0.5, 0.5], [1.5, 0.5]]}",
            "5: rules[0].line[1][0]: found '1.5'; expected a number 0 to 1",
        ),
        (
            "{name: a, type: line, head: digits, line: [[0, 0], [1, 1]], labels: ['77']}",
            "5: rules.a.labels: the head 'digits' has no class '77'; did you mean '7'?",
        ),
        (
            "{name: a, type: zone, head: digit, polygon: [[0, 0], [1, 0], [1, 1]]}",
            "5: rules.a.head: there is no head 'digit'; did you mean 'digits'?",
        ),
        (
            "{name: a, type: zone, head: panel, polygon: [[0, 0], [1, 0], [1, 1]]}",
            "5: rules.a.head: 'panel' is not tracked, 'digits' is; expected track: {head: panel}",
        ),
        (
            "{name: a, type: reading, heads: [digits, plate]}",
            "5: rules.a.heads: there is no head 'plate'; did you mean 'panel'?",
        ),
        (
            "{name: a, type: zones, head: digits}",
            "5: rules[0].type: unknown type 'zones'; did you mean 'zone'?",
        ),
        (
            "{name: a, type: scene, head: scene, affter_s: 1}",
            "5: rules[0]: unknown option 'affter_s'; did you mean 'after_s'?",
        ),
        ("{type: scene, head: scene}", "5: rules[0].name: missing; expected text"),
        (
            "{name: a/b, type: scene, head: scene}",
            "5: rules: found the name 'a/b'; expected 1 to 64 of A-Z a-z 0-9 . _ -",
        ),
        (
            "{name: scene, type: scene, head: scene}",
            "5: rules: found the name 'scene', which a head has; expected another name",
        ),
    ],
)
def test_rejects_an_unusable_rule_with_its_line(config_file, rule, problem):
    assert problems_of(config_file(BASE + f"  - {rule}\n")) == [problem]


def test_reports_the_line_of_the_option(config_file):
    rule = "  - name: a\n    type: count\n    head: digits\n    labels:\n      ['x']\n"
    assert problems_of(config_file(BASE + rule))[0].startswith("9: rules.a.labels")


def test_reports_every_unusable_rule(config_file):
    path = config_file(
        BASE + "  - {name: a, type: scene, head: x}\n  - {name: b, type: scene, head: y}\n" + ZONE + ZONE
    )
    assert [problem.split(":")[0] for problem in problems_of(path)] == ["5", "6", "8"]


def test_rejects_an_unknown_tracked_head_and_unordered_scores(config_file):
    text = BASE.replace("rules:\n", "").replace("{head: digits}", "{head: dogs, low: 0.5, high: 0.3}")
    assert problems_of(config_file(text)) == [
        "3: track.head: there is no head 'dogs'; did you mean 'digits'?",
        "3: track: found low 0.5, high 0.3, start 0.6; expected low <= high <= start",
    ]


def test_rejects_rules_that_are_not_a_list(config_file):
    assert problems_of(config_file(BASE + "  {a: 1}\n"))[0].startswith("5: rules: found a block of options")


def test_rejects_an_ignored_region_with_two_points(config_file):
    text = BASE.split("track", maxsplit=1)[0] + "heads:\n  digits: {ignore: [[[0, 0], [1, 1]]]}\n"
    assert problems_of(config_file(text)) == [
        "4: heads.digits.ignore: found a polygon of 2 points; expected at least 3"
    ]


def test_another_model_ignores_rules_of_heads_that_it_does_not_have(config_file, tmp_path):
    """So `--model` can try another model with the same configuration."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.yaml").write_text(
        "format: 1\nname: other\ninput: {width: 8, height: 8}\n"
        "heads: {objects: {family: nanodet, graph: {onnx: a.onnx}, labels: [person]}}\n"
    )
    text = BASE + ZONE + "  - {name: crowd, type: count, head: objects}\n"
    loaded = config.load(config_file(text), model=other)
    assert loaded.track is None
    assert [rule.name for rule in loaded.rules] == ["crowd"]
