"""Inspect an outbox from another process: `edge-app outbox stats`, `list` and `drop`.

`stats` and `list` work while a daemon runs. `drop` does not: the daemon holds part of the state in memory.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_app.errors import ConfigError
from edge_app.outbox.disk import FILE, Disk, DiskUnavailable, FileDamaged

_KINDS = ("events", "statuses", "results")  # by priority


@dataclass(frozen=True, slots=True)
class Contents:
    """The contents of the file. queued: messages to deliver, by sink; empty for a single sink.

    refused: messages that a sink will never accept, stored for inspection. unreported_loss: a gap record is due.
    """

    path: Path
    file_bytes: int
    events: int
    statuses: int
    results: int
    refused: int
    queued: dict[str, int]
    unreported_loss: bool


_DAMAGE = (sqlite3.Error, UnicodeError, OverflowError, MemoryError)  # what reading a damaged file raises


def stats(folder: Path) -> Contents:
    """Count what an outbox holds. Raises ConfigError if there is none or it cannot be read."""
    with closing(_open(folder)) as db:
        try:
            counts = dict(db.execute("SELECT priority, count(*) FROM messages GROUP BY priority"))
            (refused,) = db.execute("SELECT count(*) FROM refused").fetchone()
            after = "SELECT sink, (SELECT count(*) FROM messages WHERE position > cursors.position) FROM cursors"
            queued = dict(db.execute(after))
            loss = db.execute("SELECT tally FROM gap WHERE tally <> ''").fetchone() is not None
        except _DAMAGE as exc:
            raise _unreadable(folder, exc) from exc
    size = sum(part.stat().st_size for part in folder.glob(FILE + "*") if part.name in (FILE, FILE + "-wal"))
    kinds = {name: counts.get(priority, 0) for priority, name in enumerate(_KINDS)}
    return Contents(folder / FILE, size, **kinds, refused=refused, queued=queued, unreported_loss=loss)


def messages(folder: Path, *, refused: bool = False) -> Iterator[str]:
    """The stored messages, oldest first, as JSON objects. refused: refused ones instead, with sink and reason.

    Raises ConfigError as `stats` does.
    """
    with closing(_open(folder)) as db:
        try:
            if refused:
                query = "SELECT sink, reason, CAST(payload AS BLOB) FROM refused ORDER BY number"
                for sink, reason, payload in db.execute(query):
                    text = json.dumps({"sink": str(sink), "reason": str(reason)}, ensure_ascii=False)
                    yield f'{text[:-1]}, "message": {(payload or b"").decode()}}}'
            else:
                for (payload,) in db.execute("SELECT CAST(payload AS BLOB) FROM messages ORDER BY position"):
                    yield (payload or b"").decode()
        except _DAMAGE as exc:
            raise _unreadable(folder, exc) from exc


def drop(folder: Path) -> int:
    """Delete all undelivered messages. Returns how many. Raises ConfigError, also if a daemon uses the folder."""
    _open(folder).close()
    disk = Disk(folder, 1 << 26)
    try:
        return disk.run(lambda store: store.clear())
    except (DiskUnavailable, FileDamaged) as exc:
        raise ConfigError(f"{exc}; nothing was dropped") from exc
    finally:
        disk.close()


def _open(folder: Path) -> sqlite3.Connection:
    path = folder / FILE
    if not path.is_file():
        raise ConfigError(f"{path}: found no outbox; expected device.state_dir of a camera that has run")
    try:
        return sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    except sqlite3.Error as exc:
        raise _unreadable(folder, exc) from exc


def _unreadable(folder: Path, exc: Exception) -> ConfigError:
    return ConfigError(f"{folder / FILE}: cannot be read: {exc}; the daemon replaces a damaged file when it starts")
