"""Findings as a table and as JSON."""

from __future__ import annotations

import json

from edge_app.cli.findings import Finding, as_json, as_table

FINDINGS = [Finding("config", "ok", "a"), Finding("flash wear", "warn", "b"), Finding("sinks", "fail", "°")]


def test_a_table_aligns_verdicts_and_areas():
    assert as_table(FINDINGS) == "ok    config      a\nWARN  flash wear  b\nFAIL  sinks       °"


def test_the_longest_verdict_widens_its_column():
    assert as_table([*FINDINGS[:1], Finding("rtc", "absent", "c")]) == "ok      config  a\nabsent  rtc     c"


def test_json_uses_the_keys_of_the_command():
    report = json.loads(as_json(FINDINGS[2:], ok=False, list_key="findings", area_key="what"))
    assert report == {"ok": False, "findings": [{"what": "sinks", "verdict": "fail", "text": "°"}]}
