"""overrides.yaml is loaded over config.yaml with the same checks; a taken-over daemon gains nothing by writing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from edge_app import config
from edge_app.config import overrides
from edge_app.config.loading import Unsaved
from edge_app.config.splicing import splice
from edge_app.errors import ConfigError
from tests import plugins

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240}
model: {path: PROJECT/models/digits}
rules:
  - {name: plaza, type: zone, head: digits, polygon: [[0.1, 0.1], [0.5, 0.1], [0.5, 0.9]]}
  - {name: old, type: count, head: digits}
track: {head: digits}
"""
PATCH = {
    "source": {"mask": [[[0, 0], [0.2, 0], [0.2, 0.2]]]},
    "heads": {"digits": {"score": 0.5, "labels": ["1", "2"], "ignore": [[[0, 0], [1, 0], [1, 1]]]}},
    "rules": {
        "plaza": {"polygon": [[0, 0], [1, 0], [1, 1]], "dwell_s": 2.5},
        "old": None,
        "new": {"type": "count", "head": "digits", "labels": ["3"]},
    },
    "reuse": {"mode": "gate"},
}


@pytest.fixture
def files(config_file):
    """Writes overrides.yaml; returns the path of config.yaml."""
    path = config_file(TEXT)
    (path.parent / "state").mkdir()

    def write(content: object) -> Path:
        text = content if isinstance(content, str) else yaml.safe_dump(content)
        (path.parent / "state" / overrides.FILE).write_text(text, encoding="utf-8")
        return path

    return write


def test_the_file_changes_rules_masks_filters_scores_and_nothing_else(files):
    path = files("")
    (path.parent / "state" / overrides.FILE).unlink()
    before = config.load(path)
    after = config.load(files(PATCH))
    assert before.overrides == ()
    assert set(after.overrides) >= {
        "source.mask",
        "heads.digits.score",
        "rules.old",
        "rules.plaza.polygon",
        "reuse.mode",
    }
    assert [rule.name for rule in after.rules] == ["plaza", "new"]
    assert after.rules[0].options["polygon"] == ((0, 0), (1, 0), (1, 1))
    assert (after.heads["digits"].options["score"], after.heads["digits"].boxes.labels) == (0.5, ("1", "2"))
    assert list(after.heads) == list(before.heads)  # the block `heads` was absent, so the other head still runs
    assert (after.model, after.web, after.sinks, after.device) == (
        before.model,
        before.web,
        before.sinks,
        before.device,
    )


def test_it_has_the_same_effect_as_the_same_change_in_config_yaml(files):
    path = files(PATCH)
    over = config.load(path)
    text = splice(path.read_bytes(), PATCH, list(over.manifest.heads), path)
    inside = config.load(path, unsaved=Unsaved(text, b""))
    assert (inside.rules, inside.heads, inside.source, inside.reuse) == (
        over.rules,
        over.heads,
        over.source,
        over.reuse,
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("sinks: []", "found the block 'sinks', which this file cannot change; expected one of: heads, reuse"),
        ("model: {path: /etc}", "found the block 'model'"),
        ("web: {enabled: true}", "found the block 'web'"),
        ("device: {state_dir: /etc}", "found the block 'device'"),
        ("source: {url: 'rtsp://x/'}", "source: found 'url', which this file cannot change"),
        ("source: {type: video, path: /etc/passwd}", "source: found 'type'"),
        ("heads: {digits: {priority: 3}}", "heads.digits: found 'priority'"),
        ("heads: {digits: {score: 7}}", "heads.digits.score: found '7'; expected a number 0 to 1"),
        ("heads: {nose: {score: 0.5}}", "the model has no head 'nose'"),
        ("heads: [1]", "heads: found a list of 1; expected names"),
        ("heads: {digits: 5}", "heads.digits: found '5'; expected options"),
        ("rules: {plaza: {polygon: [[0, 0]]}}", "rules.plaza.polygon: found a polygon of 1 points"),
        (
            "rules: {gone: {dwell_s: 1}}",
            "config.yaml has no such rule; expected a type, or a reset: edge-app config reset",
        ),
        ("rules: {plaza: {name: other}}", "found the option 'name'"),
        ("a: *b", "found an alias"),
        ("a: [", "not valid YAML"),
        ("rules: {x: {type: count, head: digits, <<: {}}}", "unknown option '<<'"),
    ],
)
def test_a_mistake_is_reported_with_this_file_and_its_line(files, content: str, expected: str):
    with pytest.raises(ConfigError) as error:
        config.load(files(content))
    assert all(f"state/{overrides.FILE}:1: " in line for line in error.value.problems)
    assert expected in str(error.value)


@pytest.mark.parametrize("content", ["{log: {file: /etc/x}}", "{new: {type: writes_file, file: /etc/x}}"])
def test_an_option_of_a_rule_that_is_a_path_cannot_be_set(files, content: str):
    plugins.install()
    path = files(f"rules: {content}")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("rules:\n", "rules:\n  - {name: log, type: writes_file}\n"), encoding="utf-8")
    with pytest.raises(ConfigError, match="rules: found 'file', a path, address or secret"):
        config.load(path)
    files("rules: {log: {every: 2}}")
    assert config.load(path).rules[0].options == {"every": 2}


def test_a_hostile_file_is_one_line(files):
    path = files("")
    file = path.parent / "state" / overrides.FILE
    for make in (lambda: os.mkfifo(file), lambda: file.symlink_to("/etc/passwd"), file.mkdir):
        file.rmdir() if file.is_dir() else file.unlink()
        make()
        with pytest.raises(ConfigError, match="cannot be read: Is ") as error:
            config.load(path)
        assert len(error.value.problems) == 1


def test_reset_deletes_the_file_and_says_what_it_changed(files):
    path = files({"heads": {"digits": {"score": 0.5}}})
    state_dir = path.parent / "state"
    assert overrides.reset(state_dir) == ("heads.digits.score",)
    assert overrides.reset(state_dir) is None
    assert config.load(path).overrides == ()


def test_reset_deletes_a_file_that_cannot_be_read(files):
    path = files("][")
    assert overrides.reset(path.parent / "state") == ()
    assert config.load(path).overrides == ()


LOST_HEAD = {"source": PATCH["source"], "heads": {"digits": {"score": 0.5}}, "rules": {"gone": {"dwell_s": 1}}}


def test_of_a_file_that_does_not_fit_only_the_masks_are_used(files):
    path = files(LOST_HEAD)
    with pytest.raises(ConfigError):
        config.load(path)
    loaded = config.load(path, use_unfit=True)
    assert loaded.source.common.mask == (((0, 0), (0.2, 0), (0.2, 0.2)),)
    assert "score" not in loaded.heads["digits"].options  # config.yaml has none
    assert [rule.name for rule in loaded.rules] == ["plaza", "old"]
    assert loaded.overrides == ("source.mask",)
    assert len(loaded.unfit) == 1
    assert f"{overrides.FILE}:" in loaded.unfit[0]
    assert "config.yaml has no such rule" in loaded.unfit[0]


@pytest.mark.parametrize("content", ["][", "sinks: []", "source: {mask: [[[0, 0]]]}", "source: {url: x}"])
def test_of_a_file_that_is_damaged_nothing_is_used(files, content: str):
    loaded = config.load(files(content), use_unfit=True)
    assert (loaded.overrides, loaded.source.common.mask, len(loaded.unfit)) == ((), (), 1)


def test_a_file_that_fits_is_used_as_a_whole(files):
    path = files(PATCH)
    assert config.load(path, use_unfit=True) == config.load(path)


def test_mistakes_of_config_yaml_itself_are_raised_alone(files):
    path = files(LOST_HEAD)
    path.write_text(path.read_text(encoding="utf-8").replace("0.5, 0.9", "7, 0.9"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"config.yaml:\d+: rules") as error:
        config.load(path, use_unfit=True)
    assert overrides.FILE not in str(error.value)


def test_a_new_config_yaml_with_several_cameras_starts_without_the_file_of_one(files):
    path = files({"source": PATCH["source"]})
    source = "source: {type: synthetic, width: 320, height: 240}"
    text = path.read_text(encoding="utf-8").partition("rules:")[0].replace(f"{source}\n", "")
    path.write_text(f"{text}cameras: [{{name: a, {source}}}, {{name: b, {source}}}]\n", encoding="utf-8")
    loaded = config.load(path, use_unfit=True)
    assert [camera.camera for camera in loaded.each] == ["a", "b"]
    assert "which changes one camera" in loaded.unfit[0]
