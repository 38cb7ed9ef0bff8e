"""`edge-app totals`: the counts of a file as a table, CSV or JSON. Not here: the arguments (cli/)."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Literal

from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import check_regular
from edge_app.totals import store
from edge_app.totals.store import FILE, Bucket, Span

Row = tuple[str, str, str, str, int]  # period, camera, rule, count, number
_HEADER = ("period", "camera", "rule", "count", "n")


def rows(folder: Path, span: Span, zone: tzinfo) -> list[Row]:
    """The counts by period, oldest first; those of unknown time last. Raises ConfigError if they cannot be read.

    Days are as they were counted, hours are shown in `zone`.
    """
    path = folder / FILE
    try:
        check_regular(path)
        if not path.exists():
            raise ConfigError(
                f"{path}: found no totals; expected device.state_dir of a camera with a rule line or zone"
            )
        found = store.read(path, span) + (store.read(path, "undated") if span != "total" else [])
    except OSError as exc:
        raise ConfigError(f"{path}: {exc.strerror}; expected a file of totals") from exc
    except (sqlite3.Error, UnicodeError, OverflowError) as exc:
        text = foreign_text(str(exc))
        raise ConfigError(f"{path}: cannot be read: {text}; the daemon replaces a damaged file") from exc
    return [(_period(bucket, zone), bucket.camera, bucket.rule, bucket.name, n) for bucket, n in found]


def render(listed: Sequence[Row], form: Literal["table", "csv", "json"]) -> str:
    """The rows as text: aligned columns, CSV with a header, or one JSON list."""
    if form == "json":
        return json.dumps([dict(zip(_HEADER, row)) for row in listed], ensure_ascii=False)
    if form == "csv":
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([_HEADER, *listed])
        return text.getvalue().rstrip("\n")
    texts = [_HEADER, *(tuple(foreign_text(str(cell)) for cell in row) for row in listed)]
    widths = [max(len(row[i]) for row in texts) for i in range(len(_HEADER))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in texts)


def _period(bucket: Bucket, zone: tzinfo) -> str:
    if bucket.span == "day":
        text = f"{bucket.start:08}"
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    if bucket.span == "hour":
        return datetime.fromtimestamp(bucket.start, zone).isoformat(timespec="minutes")
    return bucket.span
