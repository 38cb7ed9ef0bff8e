"""Reports of the benchmarks as text: aligned tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_GAP = "  "


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line per row, columns as wide as their widest cell: the first to the left, the others to the right.

    All rows have the same number of cells.
    """
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = []
    for first, *rest in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(rest, widths[1:]))]
        lines.append(_GAP.join(cells).rstrip())
    return lines


def field_table(report: DataclassInstance) -> str:
    """One line per field of a report, `-` for a figure that could not be measured."""
    return "\n".join(align([(name, "-" if value is None else str(value)) for name, value in asdict(report).items()]))


def field_json(report: DataclassInstance) -> str:
    """One JSON object, a key per field."""
    return json.dumps(asdict(report))
