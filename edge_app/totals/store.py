"""The file of the totals: one SQLite table, `state_dir/totals.db`. A write is one transaction: all of it or nothing.

Hours are kept for 31 days, days for two years. Every method may raise sqlite3.Error.
Not here: what is counted, and what happens after an error (counter.py).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Literal, NamedTuple

FILE = "totals.db"
_VERSION = 1
_HOURS_S = 31 * 86_400
_DAYS = 731
_SCHEMA = f"""
PRAGMA page_size = 1024;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE counts
  (camera TEXT, rule TEXT, name TEXT, span TEXT, start INTEGER, n INTEGER NOT NULL,
   PRIMARY KEY (camera, rule, name, span, start)) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
COMMIT;
"""

Span = Literal["total", "day", "hour", "undated"]


class Bucket(NamedTuple):
    """What is counted, and in which period.

    name: `in` and `out` of a line, `entered` of a zone. start: of a day, as 20261127; of an hour, seconds since 1970;
    0 for the total, and for `undated`: counted while the clock was not set.
    """

    camera: str
    rule: str
    name: str
    span: Span
    start: int = 0


class Store:
    """An open file, created if it is missing. For one thread."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None)
        try:
            if self._value("PRAGMA user_version") == 0 and not self._value("SELECT count(*) FROM sqlite_master"):
                self._db.executescript(_SCHEMA)
            if self._value("PRAGMA user_version") != _VERSION or self._value("PRAGMA quick_check(1)") != "ok":
                raise sqlite3.DatabaseError("not a file of totals, or damaged")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA cache_size = -128")
        except BaseException:
            self._db.close()
            raise

    def close(self) -> None:
        self._db.close()

    def add(self, counts: Mapping[Bucket, int], now_s: int) -> None:
        """Add counts, and delete what is too old at this time (seconds since 1970; 0: not known)."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany(
                "INSERT INTO counts VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (camera, rule, name, span, start) DO UPDATE SET n = n + excluded.n",
                [(*bucket, n) for bucket, n in counts.items()],
            )
            if now_s:
                oldest = int(f"{date.fromtimestamp(now_s) - timedelta(days=_DAYS):%Y%m%d}")
                self._db.execute("DELETE FROM counts WHERE span = 'hour' AND start < ?", (now_s - _HOURS_S,))
                self._db.execute("DELETE FROM counts WHERE span = 'day' AND start < ?", (oldest,))
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def current(self, camera: str, day: int, hour: int) -> dict[Bucket, int]:
        """A camera's totals, and its counts of a day and of an hour."""
        where = "camera = ? AND (span = 'total' OR (span = 'day' AND start = ?) OR (span = 'hour' AND start = ?))"
        return dict(_rows(self._db, where, (camera, day, hour)))

    def _value(self, query: str) -> object:
        row = self._db.execute(query).fetchone()
        return None if row is None else row[0]


def read(path: Path, span: Span) -> list[tuple[Bucket, int]]:
    """The counts of a file in order, for a report. A running daemon is not affected. Raises sqlite3.Error."""
    db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        return list(_rows(db, "span = ? ORDER BY camera, start, rule, name", (span,)))
    finally:
        db.close()


def _rows(db: sqlite3.Connection, where: str, values: tuple[object, ...]) -> Iterator[tuple[Bucket, int]]:
    query = f"SELECT camera, rule, name, span, start, n FROM counts WHERE {where}"
    for camera, rule, name, span, start, n in db.execute(query, values):
        if not (
            isinstance(start, int) and isinstance(n, int) and all(isinstance(t, str) for t in (camera, rule, name))
        ):
            raise sqlite3.DatabaseError("found a value of another type")
        yield Bucket(camera, rule, name, span, start), n
