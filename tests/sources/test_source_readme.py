"""The examples in edge_app/sources/README.md are valid, and its table lists every type."""

import re
from pathlib import Path

import pytest

from edge_app import registry
from edge_app.config.plugins import read_source
from edge_app.options.document import Problems, entries, parse_yaml
from tests.conftest import PROJECT

README = (PROJECT / "edge_app" / "sources" / "README.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^source: .*$", README, re.MULTILINE)


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_accepted(example):
    problems = Problems(Path("README.md"))
    source = read_source(entries(parse_yaml(example.encode(), problems))["source"], problems)
    assert problems.found == []
    assert source.plugin.type in example


def test_every_type_is_listed():
    assert len(EXAMPLES) == 3
    assert re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE) == ["video", "images", "rtsp", "v4l2", "synthetic"]
    assert set(registry.names("sources")) == {"video", "images", "rtsp", "v4l2", "synthetic"}
