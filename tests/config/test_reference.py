"""The reference of options: complete, from the constructors, and the README tables are generated from it."""

from __future__ import annotations

import pytest

from edge_app import registry
from edge_app.cli import main
from edge_app.config import BLOCKS
from edge_app.config.reference import PLAIN, PLUGINS, default_text, sections
from edge_app.options import REQUIRED
from tests.config.regenerate import READMES, TABLE, generated


def test_every_block_is_in_the_reference():
    assert {*PLAIN, *PLUGINS} == set(BLOCKS)


@pytest.mark.parametrize("block", PLUGINS)
def test_every_type_and_option_is_listed(block: str):
    kind, _ = PLUGINS[block]
    listed = {section.name: [entry.name for entry in section.entries] for section in sections(block)}
    for type_ in registry.names(kind):
        assert listed[f"{block}.{type_}"] == [option.name for option in registry.options(kind, type_)]


@pytest.mark.parametrize("block", READMES)
def test_the_table_of_the_readme_is_generated(block: str):
    """On failure: `python -m tests.config.regenerate`."""
    text = READMES[block].read_text(encoding="utf-8")
    assert [match[2] for match in TABLE.finditer(text)] == [block]
    assert text == generated(text)


def test_meanings_come_from_the_docstring():
    (section,) = sections("sinks.jsonl")
    entries = {entry.name: entry for entry in section.entries}
    assert section.summary == "JSON lines, to a file with rotation by size or to standard output"
    assert entries["keep"].meaning == "number of renamed files"
    assert (entries["append"].kind, entries["append"].default) == ("true or false", "true")
    assert entries["max_mb"].kind == "a number at least 0.001 or null"


def test_a_meaning_may_name_several_options():
    (section,) = sections("source.rtsp")
    meanings = {entry.name: entry.meaning for entry in section.entries}
    assert meanings["open_timeout_s"] == meanings["read_timeout_s"] == "OpenCV's timeouts"


@pytest.mark.parametrize(
    ("value", "text"),
    [(REQUIRED, None), (None, "null"), (True, "true"), (2.0, "2"), (8_388_608, "8388608"), ((), "[]"), ("", '""')],
)
def test_defaults_are_shown_as_in_yaml(value: object, text: str | None):
    assert default_text(value) == text


@pytest.mark.parametrize(
    ("block", "answer"),
    [
        ("sink", "options: unknown block 'sink'; did you mean 'sinks'?"),
        ("sinks.mqt", "unknown type 'mqt'; did you mean 'mqtt'?"),
        ("web.x", "options: the block 'web' has no types; expected web"),
    ],
)
def test_an_unknown_block_or_type_names_the_nearest(capsys: pytest.CaptureFixture[str], block: str, answer: str):
    assert main(["options", block]) == 2
    assert capsys.readouterr().err == answer + "\n"


def test_the_command_prints_one_option_a_line(capsys: pytest.CaptureFixture[str]):
    assert main(["options", "outbox"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("outbox: The queue of undelivered messages")
    assert lines[1].split()[:3] == ["max_mb", "a", "number"]
