"""The block `cameras`: what each camera has for itself, what they share, and mistakes."""

from __future__ import annotations

import jsonschema
import pytest
import yaml

from edge_app import config
from edge_app.config import json_schema
from edge_app.errors import ConfigError
from tests.conftest import PROJECT

MODEL = f"model: {{path: {PROJECT / 'models/digits'}}}\ndevice: {{state_dir: here}}\n"
TWO = """\
cameras:
  - {name: front, source: {type: synthetic}, rules: [{name: scene_front, type: scene, head: scene}]}
  - {name: yard, priority: 1, source: {type: synthetic, fps: 5}, heads: {scene: {}}}
rules: [{name: shared, type: scene, head: scene}]
"""


def problems(text: str, config_file) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        config.load(config_file(text))
    return [problem.partition("config.yaml:")[2] for problem in caught.value.problems]


def test_each_camera_has_its_own_blocks_and_those_of_the_file(config_file):
    loaded = config.load(config_file(TWO + MODEL))
    front, yard = loaded.each
    assert [each.camera for each in loaded.each] == ["front", "yard"]
    assert [rule.name for rule in front.rules] == ["scene_front"]
    assert [rule.name for rule in yard.rules] == ["shared"]
    assert list(front.heads) == ["digits", "panel", "scene"]
    assert list(yard.heads) == ["scene"]
    assert (front.priority, yard.priority) == (0, 1)
    assert front.manifest == yard.manifest


def test_the_first_camera_keeps_the_folders_of_one_and_the_others_have_their_own(config_file):
    loaded = config.load(config_file(TWO + MODEL))
    folder = loaded.device.state_dir / "snapshots"
    assert [each.folder("snapshots") for each in loaded.each] == [folder, folder / "yard"]


def test_one_entry_is_one_camera_with_the_folders_of_one(config_file):
    loaded = config.load(config_file("cameras: [{name: front, source: {type: synthetic}}]\n" + MODEL))
    assert loaded.each == (loaded,)
    assert loaded.camera == "front"
    assert loaded.folder("snapshots") == loaded.device.state_dir / "snapshots"


def test_a_camera_that_is_not_there_does_not_end_the_others(config_file):
    assert {each.source.common.connect for each in config.load(config_file(TWO + MODEL)).each} == {"retry"}


def test_one_camera_can_be_chosen(config_file):
    path = config_file(TWO + MODEL)
    chosen = config.load(path, camera="yard", source="synthetic:")
    assert (chosen.camera, chosen.cameras) == ("yard", ())
    with pytest.raises(ConfigError, match=r"no camera 'yrd'; did you mean 'yard'"):
        config.load(path, camera="yrd")
    with pytest.raises(ConfigError, match=r"found 2 cameras and one source; expected --camera front or yard"):
        config.load(path, source="synthetic:")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            TWO.replace("yard", "front"),
            ["3: cameras[1].name: found a second camera 'front'; expected a different name for each"],
        ),
        ("cameras: []\n", ["1: cameras: found a list of 0; expected a list, each with a name and a source"]),
        ("cameras: [5]\n", ["1: cameras[0]: found '5'; expected a block with a name and a source"]),
        ("cameras: [{name: a}]\n", ["1: cameras[0].source: missing; expected a block with a type"]),
        (
            "cameras: [{name: ../a, source: {type: synthetic}}]\n",
            ["1: cameras[0].name: found '../a'; expected 1 to 64 of A-Z a-z 0-9 . _ -, and no leading ."],
        ),
        (
            "cameras: [{name: a, source: {type: synthetic}, web: {}}]\n",
            ["1: cameras[0]: unknown option 'web'"],
        ),
        (
            "cameras: [{name: a, source: {type: synthetic, name: b}}]\n",
            ["1: cameras[0].source.name: found it; expected the name only in front of the source"],
        ),
        (
            "source: {type: synthetic}\n" + TWO,
            ["1: source: found it beside cameras; expected a source in each camera"],
        ),
        (TWO.replace("shared, type: scene", "shared, type: scne"), ["4: rules[0].type: unknown type 'scne'"]),
    ],
)
def test_rejects(text: str, found: list[str], config_file):
    reported = problems(text + MODEL, config_file)
    assert len(reported) == len(found)
    assert all(line.startswith(start) for line, start in zip(reported, found)), reported


def test_rejects_overrides_of_one_camera(config_file):
    path = config_file(TWO + MODEL)
    folder = config.load(path).device.state_dir
    folder.mkdir(parents=True)
    (folder / "overrides.yaml").write_text("heads: {scene: {score: 0.5}}\n")
    with pytest.raises(ConfigError, match=r"changes one camera; expected none: edge-app config reset"):
        config.load(path)


def test_the_json_schema_accepts_it_and_rejects_mistakes():
    validator = jsonschema.Draft7Validator(json_schema.json_schema())
    model = "model: {path: m}\n"
    assert not list(validator.iter_errors(yaml.safe_load(TWO + model)))
    for wrong in (
        TWO.replace("priority", "priorty"),
        TWO.replace("fps: 5", "fsp: 5"),
        "source: {type: synthetic}\n" + TWO,
    ):
        assert list(validator.iter_errors(yaml.safe_load(wrong + model)))


def test_a_replaced_block_is_replaced_in_each_camera(config_file):
    loaded = config.load(config_file(TWO + MODEL)).replaced(sinks=())
    model = loaded.model
    changed = loaded.replaced(model=config.ModelConfig(model.path, threads=2))
    assert [each.model.threads for each in changed.each] == [2, 2]
