"""config.yaml is changed in place: only the values of a patch change, and every comment stays."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.config.patching import apply_patch, plain
from edge_app.config.splicing import splice
from edge_app.errors import ConfigError
from edge_app.options.document import Problems, parse_yaml

PATH = Path("config.yaml")
HEADS = ("scene", "digits")
BLOCK = """\
# first line
source: {type: synthetic, mask: [[[0, 0], [1, 0], [1, 1]]]}  # the camera
model: {path: models/digits}

heads:
  # what is seen
  scene:   # nothing here
  digits: {score: 0.4}  # tuned
rules:
  # the plaza
  - name: plaza   # in front
    type: zone
    polygon:
      # corner
      - [0.1, 0.1]
      - [0.5, 0.1]  # second
      - [0.5, 0.9]
    # after the polygon
  - {name: gate, type: line}   # flow
  - type: count
    name: "7"
    head: digits
# last line
sinks: []"""
FLOW = "{source: {type: synthetic}, heads: {digits: {}}, rules: [{name: plaza, type: zone}], sinks: []}  # all\n"
TEXTS = {"block": BLOCK, "crlf": BLOCK.replace("\n", "\r\n"), "flow": FLOW, "short": "model: {path: x}\n"}
PATCHES = {
    "mask": {"source": {"mask": [[[0, 0], [0.5, 0], [0.5, 0.25]]]}},
    "no mask": {"source": {"mask": None}},
    "score": {"heads": {"digits": {"score": 0.55}}},
    "labels": {"heads": {"digits": {"labels": ["person", "no", "1"], "aspect": [0.5, 2]}}},
    "head without options": {"heads": {"scene": {"enabled": False}}},
    "polygon": {"rules": {"plaza": {"polygon": [[0, 0], [1, 0], [1, 1]], "dwell_s": 2.5}}},
    "first option": {"rules": {"7": {"type": "zone", "head": None}}},
    "remove": {"rules": {"plaza": None}},
    "remove all": {"rules": {"plaza": None, "gate": None, "7": None}},
    "add": {"rules": {"new rule": {"type": "count", "head": "digits", "labels": ["é", "a: b # c"], "label": None}}},
    "empty and fill": {"rules": {"plaza": None, "gate": None, "7": None, "x": {"type": "count"}}},
    "reuse": {"reuse": {"mode": "off"}},
    "nothing": {"rules": {}},
}


def value_of(data: bytes):
    problems = Problems(PATH)
    root = parse_yaml(data, problems)
    problems.raise_if_any()
    return plain(root)


def comments(text: str) -> list[str]:
    return sorted(each.strip() for each in re.findall(r"(?:^|\s)(#[^\r\n]*)", text, re.MULTILINE))


@pytest.mark.parametrize("patch", PATCHES.values(), ids=PATCHES)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_the_text_means_what_the_patch_says(text: str, patch):
    changed = splice(text.encode(), patch, HEADS, PATH)
    assert value_of(changed) == apply_patch(value_of(text.encode()), patch, HEADS)


@pytest.mark.parametrize("name", ["mask", "score", "labels", "head without options", "polygon", "add", "reuse"])
def test_every_comment_and_every_other_line_stays(name: str):
    changed = splice(BLOCK.encode(), PATCHES[name], HEADS, PATH).decode()
    before = comments(BLOCK)
    after = [each for each in comments(changed) if not each.startswith('# c"')]  # of the value that is added
    assert after == before
    lost = [line for line in BLOCK.splitlines() if line not in changed.splitlines()]
    assert len(lost) <= (5 if name == "polygon" else 1), lost


def test_removing_a_rule_keeps_the_comments_of_others():
    changed = splice(BLOCK.encode(), PATCHES["remove"], HEADS, PATH).decode()
    for kept in ("# first line", "# the plaza", "# after the polygon", "# flow", "# last line"):
        assert kept in changed


def test_a_file_that_cannot_be_changed_in_place_is_rejected():
    with pytest.raises(ConfigError, match=r"^config.yaml:"):
        splice(b"a: [\n", {"heads": {"digits": {"score": 0.5}}}, HEADS, PATH)


def test_a_trailing_comma_is_no_problem():
    text = b"heads: {digits: {score: 0.1,}}\n"
    changed = splice(text, {"heads": {"digits": {"score": 0.5}}}, HEADS, PATH)
    assert changed == b"heads: {digits: {score: 0.5,}}\n"


NUMBERS = st.floats(0, 1).map(lambda x: round(x, 4)) | st.integers(0, 9)
VALUES = NUMBERS | st.booleans() | st.text(max_size=8) | st.lists(st.lists(NUMBERS, max_size=2), max_size=3)
OPTIONS = st.dictionaries(st.sampled_from(["score", "labels", "polygon", "ignore"]), VALUES | st.none(), max_size=3)


@settings(max_examples=60)
@given(
    st.sampled_from(list(TEXTS.values())),
    st.dictionaries(st.sampled_from(HEADS), OPTIONS, max_size=2),
    st.dictionaries(st.sampled_from(["plaza", "gate", "7", "x"]), OPTIONS | st.none(), max_size=3),
)
def test_any_change_is_exact_or_rejected(text: str, heads, rules):
    patch = {"heads": heads, "rules": rules}
    try:
        changed = splice(text.encode(), patch, HEADS, PATH)
    except ConfigError:
        return  # such as a control character
    assert value_of(changed) == apply_patch(value_of(text.encode()), patch, HEADS)
