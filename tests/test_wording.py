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
ALL_TEXT = "\n".join(TEXTS.values())
ALL_PROSE = re.sub(r"[\s#]+", " ", ALL_TEXT).lower()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_pattern_matches_nowhere(pattern: str):
    """Phrases match without regard to case and line breaks; identifiers match exactly."""
    is_identifier = re.fullmatch(r"\\b\w+\\b", pattern)
    if is_identifier and not re.search(pattern, ALL_TEXT):
        return
    if not is_identifier and not re.search(pattern.lower(), ALL_PROSE):
        return
    compiled = re.compile(pattern if is_identifier else pattern.replace(" ", r"[\s#]+"), 0 if is_identifier else re.I)
    places = []
    for name, text in TEXTS.items():
        places += [f"{name}:{text.count(chr(10), 0, match.start()) + 1}" for match in compiled.finditer(text)]
    assert places == []


def test_every_pattern_can_match():
    """A pattern that cannot match is a defect of the list."""
    samples = [re.sub(r"\\b", "", p).replace("(is|are)", "is").replace("?", "") for p in PATTERNS]
    assert len(PATTERNS) >= 60
    assert len(set(PATTERNS)) == len(PATTERNS)
    for pattern, sample in zip(PATTERNS, samples):
        assert re.search(pattern, sample, re.IGNORECASE), pattern
