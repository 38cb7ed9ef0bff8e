"""What faults tell programs and people."""

from __future__ import annotations

import re

import pytest

from edge_app.pipeline.fault_texts import TEXTS, described

CASES = [
    ("camera", {"state": "lost", "error": "no route"}, "camera_lost", "critical", "no images (no route)"),
    ("camera", {"state": "lost", "error": ""}, "camera_lost", "critical", "(unknown)"),
    ("camera", {"state": "frozen", "error": "x"}, "camera_frozen", "critical", "the same image"),
    ("backend", {"error": "hung"}, "backend_failed", "critical", "(hung)"),
    ("head", {"head": "panel", "error": "e"}, "head_failed", "error", "'panel'"),
    ("load", {"does": "half", "reason": "86 °C"}, "load_reduced", "warning", "half (86 °C)"),
    ("memory", {"resident_mb": 90.5, "limit_mb": 80.0}, "memory_limit", "error", "90.5 MB, limit 80.0 MB"),
    ("disk", {"full": True, "error": "e"}, "disk_full", "error", "is full"),
    ("disk", {"full": False, "error": "read-only"}, "disk_failed", "error", "(read-only)"),
    (
        "update",
        {"release": "r2", "error": "no frames"},
        "update_failed",
        "warning",
        "r2 failed and was rolled back: no",
    ),
    ("overrides", {"error": "overrides.yaml:2: e", "mistakes": 1}, "overrides_unfit", "error", "(overrides.yaml:2: e)"),
]


@pytest.mark.parametrize(("kind", "value", "code", "severity", "text"), CASES)
def test_every_fault_has_a_code_a_severity_and_a_text(kind, value, code, severity, text):
    found = described(kind, value)
    assert (found["fault"], found["code"], found["severity"]) == (kind, code, severity)
    assert text in found["text"]
    assert value.items() <= found.items()


def test_the_cases_above_are_all():
    assert {case[2] for case in CASES} == {text.code for text in TEXTS}


def test_a_text_is_one_sentence_or_more_in_plain_words():
    for text in TEXTS:
        assert re.fullmatch(r"[A-Z][^\n]{10,}\.", text.text), text


def test_text_of_others_is_never_a_template():
    assert "{head.__class__}" in described("head", {"head": "a", "error": "{head.__class__}"})["text"]


def test_an_unknown_kind_and_missing_values_are_described():
    assert described("plug-in", {})["code"] == "fault"
    assert "unknown" in described("load", {})["text"]
