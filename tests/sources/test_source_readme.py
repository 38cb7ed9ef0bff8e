"""The examples in edge_app/sources/README.md are valid, and its table lists existing types only."""

import re
from pathlib import Path

import pytest

from edge_app import registry
from edge_app.config.plugins import read_source
from edge_app.options.document import Problems, entries, parse_yaml
from tests.conftest import PROJECT

README = (PROJECT / "edge_app" / "sources" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^source: .*$", README.split("## Write your own")[0], re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_accepted(example):
    problems = Problems(Path("README.md"))
    source = read_source(entries(parse_yaml(example.encode(), problems))["source"], problems)
    assert problems.found == []
    assert source.plugin.type in example


def test_the_table_lists_existing_types():
    listed = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert listed
    assert set(listed) <= set(registry.names("sources"))
