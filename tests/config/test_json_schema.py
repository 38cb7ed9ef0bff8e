"""The JSON Schema of config.yaml accepts what loading accepts, and rejects what it rejects."""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated, Literal

import jsonschema
import pytest
import yaml

from edge_app.cli import main
from edge_app.config import json_schema
from edge_app.config.json_schema import value_schema
from edge_app.options import Range
from tests.conftest import PROJECT
from tests.test_smoke import EVERYTHING

START = "source: {type: synthetic}\nmodel: {path: m}\n"


@cache
def validator() -> jsonschema.Draft7Validator:
    return jsonschema.Draft7Validator(json_schema.json_schema())


def problems(text: str) -> list[str]:
    return [error.message for error in validator().iter_errors(yaml.safe_load(text))]


def test_it_is_a_valid_schema():
    jsonschema.Draft7Validator.check_schema(json_schema.json_schema())


def test_the_file_in_the_package_is_generated():
    """On failure: `python -m tests.config.regenerate`."""
    assert json_schema.FILE.read_text(encoding="utf-8") == json_schema.json_schema_text()


def test_the_shipped_configuration_names_it_and_is_valid():
    text = (PROJECT / "config.yaml").read_text(encoding="utf-8")
    assert PROJECT / text.partition("$schema=")[2].split()[0] == json_schema.FILE
    assert problems(text) == []


@pytest.mark.parametrize("text", [EVERYTHING, START, START + "heads: {a: {score: 0.4, top_k: 2}}\nreuse: {}\n"])
def test_accepts_valid_configurations(text: str):
    assert problems(text) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("source: {type: synthetic}\n", "'model' is a required property"),
        (START + "sorce: {}\n", "'sorce' was unexpected"),
        (START.replace("synthetic", "syntetic"), "'syntetic' is not one of"),
        (START.replace("synthetic", "synthetic, wdth: 3"), "'wdth' was unexpected"),
        (START.replace("synthetic", "synthetic, width: 3"), "less than the minimum of 32"),
        (START.replace("synthetic", "rtsp"), "'url' is a required property"),
        (START.replace("synthetic", "synthetic, crop: [0, 0, 1]"), "not valid under any of the given schemas"),
        (START + "sinks: [{type: mqtt}]\n", "'host' is a required property"),
        (START + "web: {port: 70000}\n", "70000 is greater than the maximum"),
        (START + "publish: {results: sometimes}\n", "not valid under any of the given schemas"),
        (START + "heads: {a: {scor: 1}}\n", "'scor' was unexpected"),
    ],
)
def test_rejects_invalid_configurations(text: str, found: str):
    assert any(found in problem for problem in problems(text)), problems(text)


def test_limits_and_choices_become_those_of_json_schema():
    assert value_schema(Annotated[int, Range(1, 9)]) == {"type": "integer", "minimum": 1, "maximum": 9}
    assert value_schema(Annotated[float, Range(0)]) == {"type": "number", "minimum": 0}
    assert value_schema(Literal["a", 90]) == {"enum": ["a", 90]}
    assert value_schema(tuple[bool, ...]) == {"type": "array", "items": {"type": "boolean"}}


def test_the_command_prints_the_schema_of_all_or_of_one_block(capsys: pytest.CaptureFixture[str]):
    assert main(["options", "--json-schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema.json_schema()
    assert main(["options", "outbox", "--json-schema"]) == 0
    assert "max_mb" in json.loads(capsys.readouterr().out)["properties"]
