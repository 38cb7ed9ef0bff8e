"""The example of edge_app/dialects/README.md is a complete dialect: the option finds it, and it converts events."""

import re
from pathlib import Path

import pytest

from edge_app import dialects
from tests.dialects.conftest import make, seen

FOLDER = Path(dialects.__file__).parent
EXAMPLE = re.search(r"```python\n(.*?)```", (FOLDER / "README.md").read_text(encoding="utf-8"), re.DOTALL)[1]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example as a file of the package."""
    (tmp_path / "switch.py").write_text(EXAMPLE, encoding="utf-8")
    monkeypatch.setattr(dialects, "__path__", [*dialects.__path__, str(tmp_path)])


@pytest.mark.usefixtures("installed")
def test_the_example_is_found_and_converts(script):
    assert "switch" in dialects.names()
    dialect = make("switch")
    assert dialect.convert(script.result([])) == []
    steps = [("new", 1, b"ON"), ("end", 1, b"ON"), ("end", 0, b"OFF")]
    for type_, occupancy, expected in steps:
        (published,) = dialect.convert(script.event(type_, "zone", "a", seen(occupancy=occupancy), "yard/east"))
        assert (published.topic, published.payload, published.retain) == ("yard_east", expected, True)
    assert dialect.state() == [published]


def test_the_readme_lists_every_dialect():
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\[(\w+)\.py\]\(\w+\.py\)", text)) >= {name.replace("-", "_") for name in dialects.names()}
