"""The wording: patterns of tests/wording.txt match in no file of the project."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.test_documents import FILES

LIST = Path(__file__).with_name("wording.txt")
SUFFIXES = {".py", ".md", ".yaml", ".toml", ".sh", ".js", ".html", ".css", ".c", ".json", ".service"}
TEXTS = {
    p.relative_to(PROJECT).as_posix(): p.read_text(encoding="utf-8")
    for p in FILES
    if (p.suffix in SUFFIXES or p.name in ("run", "S99edge-app")) and p.name != "CHANGELOG.md"
}
PATTERNS = [line for line in LIST.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_nowhere(pattern: str):
    """Phrases match without regard to case and line breaks; identifiers as they are written."""
    identifier = re.fullmatch(r"\\b\w+\\b", pattern)
    compiled = re.compile(
        pattern if identifier else pattern.replace(" ", r"[\s#]+"), 0 if identifier else re.IGNORECASE
    )
    found = []
    for name, text in TEXTS.items():
        found += [f"{name}:{text.count(chr(10), 0, match.start()) + 1}" for match in compiled.finditer(text)]
    assert found == []


def test_every_pattern_would_be_noticed():
    """A pattern that cannot match is a defect of the list."""
    samples = [re.sub(r"\\b", "", p).replace("(is|are)", "is").replace("?", "") for p in PATTERNS]
    assert len(PATTERNS) >= 60
    assert len(set(PATTERNS)) == len(PATTERNS)
    for pattern, sample in zip(PATTERNS, samples):
        assert re.search(pattern, sample, re.IGNORECASE), pattern
