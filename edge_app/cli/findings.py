"""The findings of `edge-app check` and `edge-app doctor`, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warn", "fail", "absent"]

_MARKS: dict[Verdict, str] = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "absent": "absent"}
_MIN_MARK_WIDTH = 4


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check. area: the part of the configuration or of the board that was checked."""

    area: str
    verdict: Verdict
    text: str


def as_table(findings: Sequence[Finding]) -> str:
    """One line per finding: verdict, area, text."""
    mark_width = max(_MIN_MARK_WIDTH, *(len(_MARKS[finding.verdict]) for finding in findings))
    area_width = max(len(finding.area) for finding in findings)
    return "\n".join(f"{_MARKS[f.verdict]:<{mark_width}}  {f.area:<{area_width}}  {f.text}" for f in findings)


def as_json(findings: Sequence[Finding], *, ok: bool, list_key: str, area_key: str) -> str:
    """One JSON object: `ok`, and the findings under `list_key`, each with its area under `area_key`."""
    entries = [{area_key: f.area, "verdict": f.verdict, "text": f.text} for f in findings]
    return json.dumps({"ok": ok, list_key: entries}, ensure_ascii=False)
