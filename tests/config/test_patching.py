"""A patch of the configuration: what it changes, and that two patches are one."""

from __future__ import annotations

from pathlib import Path

from edge_app.config.patching import apply_patch, compose, names, plain
from edge_app.options.document import Problems, parse_yaml

DOCUMENT = {
    "source": {"type": "synthetic"},
    "heads": {"digits": {"score": 0.4, "labels": ["1"]}, "scene": None},
    "rules": [{"name": "plaza", "type": "zone"}, {"name": "old", "type": "count"}],
}


def test_null_removes_and_a_list_is_replaced_as_a_whole():
    patch = {
        "heads": {"digits": {"labels": None, "ignore": [[[0, 0], [1, 0], [1, 1]]]}},
        "rules": {"old": None, "plaza": {"dwell_s": 2}, "new": {"type": "count", "head": None}},
    }
    patched = apply_patch(DOCUMENT, patch, ["digits", "scene"])
    assert patched["heads"] == {"digits": {"score": 0.4, "ignore": [[[0, 0], [1, 0], [1, 1]]]}, "scene": None}
    assert patched["rules"] == [{"name": "plaza", "type": "zone", "dwell_s": 2}, {"name": "new", "type": "count"}]
    assert DOCUMENT["rules"][0] == {"name": "plaza", "type": "zone"}  # the original is unchanged


def test_a_new_block_of_heads_names_all_of_them_because_a_head_that_is_not_named_does_not_run():
    patched = apply_patch({}, {"heads": {"digits": {"score": 0.5}}}, ["scene", "digits"])
    assert patched["heads"] == {"scene": {}, "digits": {"score": 0.5}}


def test_a_composed_patch_has_the_effect_of_both():
    first = {"heads": {"digits": {"score": 0.5, "labels": None}}, "rules": {"old": {"type": "zone"}}}
    second = {"heads": {"digits": {"score": None}, "scene": {"enabled": False}}, "rules": {"old": None}}
    both = apply_patch(apply_patch(DOCUMENT, first, ["digits"]), second, ["digits"])
    assert apply_patch(DOCUMENT, compose(first, second), ["digits"]) == both


def test_names_say_what_a_patch_changes():
    patch = {"source": {"mask": []}, "heads": {"digits": {"score": 0.5}}, "rules": {"old": None}}
    assert names(patch) == ("source.mask", "heads.digits.score", "rules.old")


def test_values_are_read_as_the_options_are():
    text = b"{a: no, b: 1:30, c: '5', d: 0.50, e: 7, f: ~, g: [true], name: 010}"
    root = parse_yaml(text, Problems(Path("x.yaml")))
    read = {"a": "no", "b": "1:30", "c": "5", "d": 0.5, "e": 7, "f": None, "g": [True], "name": "010"}
    assert plain(root) == read
