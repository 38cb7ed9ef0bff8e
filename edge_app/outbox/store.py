"""The outbox on disk: one SQLite file (WAL, every commit synced) with messages, cursors, the gap and refused messages.

Small pages keep the bytes written by a group commit low. Every method may raise sqlite3.Error.
Not here: handling those errors (disk.py), when to commit (writer.py).
"""

from __future__ import annotations

import contextlib
import json
import math
import sqlite3
import zlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from edge_app.frame import JsonValue

_VERSION = 1
_PAGE_BYTES = 1024
_WAL_PAGES = 1000
_EVICT_ROWS = 64
_REFUSED_KEPT = 100
_SCHEMA = f"""
PRAGMA page_size = {_PAGE_BYTES};
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE messages
  (position INTEGER PRIMARY KEY, priority INTEGER NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL);
CREATE TABLE cursors (sink TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE gap (only INTEGER PRIMARY KEY CHECK (only = 0), tally TEXT NOT NULL);
CREATE TABLE refused
  (number INTEGER PRIMARY KEY, sink TEXT NOT NULL, reason TEXT NOT NULL, payload BLOB NOT NULL);
PRAGMA user_version = {_VERSION};
COMMIT;
"""

GapRecord = Mapping[str, JsonValue]  # the JSON form of gap.Gap


@dataclass(frozen=True, slots=True)
class Row:
    """One stored message. priority: the highest is evicted first. payload: None if its checksum does not match."""

    position: int
    priority: int
    payload: bytes | None


@dataclass(slots=True)
class Changes:
    """One group commit. rows: position, priority, payload. delete_through: all sinks have received messages up to it.

    refused: sink, reason, payload. gap: losses not reported yet; empty if all are reported; None: unchanged.
    """

    rows: Sequence[tuple[int, int, bytes]] = ()
    delete_through: int | None = None
    cursors: Mapping[str, int] = field(default_factory=dict)
    refused: Sequence[tuple[str, str, bytes]] = ()
    gap: GapRecord | None = None


class Store:
    """An open outbox file. Use from one thread at a time. max_bytes: of the file and its log together.

    fresh: the constructor created the file. exclusive: no other process can read it meanwhile; then a file that was
    closed in order can be read on a full disk, since SQLite keeps in memory what it otherwise keeps in the -shm file.
    """

    def __init__(self, path: Path, max_bytes: int, *, exclusive: bool = False) -> None:
        self.path = path
        self.fresh = False
        self.exclusive = exclusive
        self._evicted_through = [0, 0, 0]  # by priority: all messages up to this position are evicted
        self._db = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False)
        try:
            self._prepare(max_bytes)
        except BaseException:
            self._db.close()
            raise

    def set_limit(self, max_bytes: int) -> None:
        """Change the largest size of the file and its log together. Writes nothing."""
        self.max_bytes = max_bytes
        pages = max_bytes // _PAGE_BYTES
        wal_pages = min(_WAL_PAGES, pages // 16)
        self._max_pages = pages - 6 * wal_pages  # the log exceeds its limit by the largest group and eviction
        self._db.execute(f"PRAGMA wal_autocheckpoint = {wal_pages}")
        self._db.execute(f"PRAGMA journal_size_limit = {wal_pages * _PAGE_BYTES}")

    def _prepare(self, max_bytes: int) -> None:
        if self.exclusive:
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        if self._value("PRAGMA user_version") == 0 and not self._value("SELECT count(*) FROM sqlite_master"):
            self._db.executescript(_SCHEMA)
            self.fresh = True
        if self._value("PRAGMA user_version") != _VERSION:
            raise sqlite3.DatabaseError("not an outbox file of this version")
        if (verdict := self._value("PRAGMA quick_check(1)")) != "ok":
            raise sqlite3.DatabaseError(str(verdict))
        for pragma in ("synchronous = FULL", "cache_size = -256", "temp_store = MEMORY"):
            self._db.execute(f"PRAGMA {pragma}")
        self.set_limit(max_bytes)

    def has_written(self) -> bool:
        """Whether any row was changed since this was opened."""
        return self._db.total_changes > 0

    def close(self) -> None:
        self._db.close()

    def commit(self, changes: Changes) -> int:
        """Write a group of changes, all or none, and sync. Returns how many rows were deleted."""
        deleted = 0
        with self._transaction():
            if changes.delete_through is not None:
                query = "DELETE FROM messages WHERE position <= ?"
                deleted = self._db.execute(query, (changes.delete_through,)).rowcount
            rows = ((position, priority, zlib.crc32(payload), payload) for position, priority, payload in changes.rows)
            # or replace: a commit that was reported as failed may have been written all the same
            self._db.executemany("INSERT OR REPLACE INTO messages VALUES (?, ?, ?, ?)", rows)
            self._db.executemany("INSERT OR REPLACE INTO cursors VALUES (?, ?)", changes.cursors.items())
            if changes.refused:
                self._db.executemany("INSERT INTO refused (sink, reason, payload) VALUES (?, ?, ?)", changes.refused)
                self._db.execute(
                    "DELETE FROM refused WHERE number <= (SELECT max(number) FROM refused) - ?", (_REFUSED_KEPT,)
                )
            if changes.gap is not None:
                self._set_gap(changes.gap)
        return deleted

    def evict(self, gap_with: Callable[[Sequence[Row]], GapRecord]) -> list[Row]:
        """If the file exceeds its cap, delete the lowest priority first, then the oldest. Returns the deleted rows.

        gap_with: returns the gap including these rows; it is written in the same transaction.
        """
        evicted: list[Row] = []
        if self._live_pages() <= self._max_pages:
            return evicted
        with self._transaction():
            while self._live_pages() > self._max_pages - self._max_pages // 64:
                rows = self._next_to_evict()
                if not rows:
                    break
                self._db.executemany("DELETE FROM messages WHERE position = ?", [(row.position,) for row in rows])
                evicted += rows
            self._set_gap(gap_with(evicted))
        return evicted

    def _next_to_evict(self) -> list[Row]:
        for priority in (2, 1, 0):
            after = self._evicted_through[priority]
            rows = self._rows("position > ? AND priority = ? ORDER BY position", (after, priority), _EVICT_ROWS)
            if rows:
                self._evicted_through[priority] = rows[-1].position
                return rows
        return []

    def read(self, after: int, through: int, limit: int, max_bytes: int) -> list[Row]:
        """The first messages with after < position <= through: at most `limit`, fewer once `max_bytes` are reached."""
        return self._rows("position > ? AND position <= ? ORDER BY position", (after, through), limit, max_bytes)

    def last_position(self) -> int:
        """The highest position that was stored according to the file; 0 if none."""
        return max(
            self._number("SELECT max(position) FROM messages"), self._number("SELECT max(position) FROM cursors")
        )

    def first_position(self) -> int | None:
        """The oldest message's position, or None."""
        return self._number("SELECT min(position) FROM messages") or None

    def cursors(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT sink, position FROM cursors WHERE typeof(position) = 'integer'"))

    def keep_cursors(self, sinks: Iterable[str]) -> None:
        """Delete the cursors of sinks that are no longer configured."""
        gone = [(name,) for name in self.cursors() if name not in set(sinks)]
        if gone:
            self._db.executemany("DELETE FROM cursors WHERE sink = ?", gone)

    def ids_of_events(self, ids: Collection[str]) -> frozenset[str]:
        """Those of these ids that a stored event has."""
        query = "SELECT count(*) FROM messages WHERE priority = 0 AND instr(payload, ?)"
        return frozenset(id_ for id_ in ids if self._number(query, f'"id":{json.dumps(id_)},'.encode()))

    def count_after(self, position: int) -> int:
        return self._number("SELECT count(*) FROM messages WHERE position > ?", position)

    def refused(self) -> list[tuple[str, str, bytes]]:
        """Sink, reason and payload of the last refused messages, oldest first."""
        return list(self._db.execute("SELECT sink, reason, payload FROM refused ORDER BY number"))

    def gap(self) -> GapRecord:
        """Losses that have not been reported; empty if none."""
        record = self._value("SELECT tally FROM gap")
        try:
            gap = json.loads(str(record)) if record else {}
        except (ValueError, RecursionError) as exc:
            raise sqlite3.DatabaseError("the gap is not readable") from exc
        if not isinstance(gap, dict):
            raise sqlite3.DatabaseError("the gap is not a JSON object")
        return gap

    def clear(self) -> int:
        """Delete all messages. Returns how many."""
        with self._transaction():
            return self._db.execute("DELETE FROM messages").rowcount

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:  # a full disk may have rolled it back already
                self._db.execute("ROLLBACK")
            raise

    def _set_gap(self, gap: GapRecord) -> None:
        self._db.execute("INSERT OR REPLACE INTO gap VALUES (0, ?)", (json.dumps(gap) if gap else "",))

    def _live_pages(self) -> int:
        return self._number("PRAGMA page_count") - self._number("PRAGMA freelist_count")

    def _rows(self, where: str, values: tuple[int, ...], limit: int, max_bytes: float = math.inf) -> list[Row]:
        query = f"SELECT position, priority, crc, payload FROM messages WHERE {where} LIMIT ?"
        rows: list[Row] = []
        size = 0
        with contextlib.closing(self._db.execute(query, (*values, limit))) as found:
            for position, priority, crc, payload in found:
                whole = isinstance(payload, bytes) and zlib.crc32(payload) == crc
                rows.append(Row(position, priority, payload if whole else None))
                size += len(payload) if whole else 0
                if size >= max_bytes:
                    break
        return rows

    def _number(self, query: str, *values: object) -> int:
        """An integer; 0 for NULL. Raises sqlite3.DatabaseError for any other value."""
        value = self._value(query, *values)
        if not isinstance(value, (int, type(None))):
            raise sqlite3.DatabaseError("found a value that is not an integer")
        return value or 0

    def _value(self, query: str, *values: object) -> object:
        row = self._db.execute(query, values).fetchone()
        return None if row is None else row[0]
