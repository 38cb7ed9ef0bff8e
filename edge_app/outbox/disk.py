"""Access to the outbox's folder: locks it, opens the file as soon as possible, and replaces a damaged file.

Not here: the content of the file (store.py), when to retry (writer.py).
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import TypeVar

from edge_app.errors import ConfigError, foreign_text
from edge_app.outbox.store import Store

_LOG = logging.getLogger(__name__)

FILE = "outbox.db"
T = TypeVar("T")


class DiskUnavailable(Exception):
    """The disk is full, read-only or failing. Nothing was changed."""


class FileDamaged(Exception):
    """The file was damaged and has been renamed. The next access creates an empty one."""


class Disk:
    """One store, used by one thread at a time. Raises ConfigError if another process uses the folder."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._closed = False
        self._store: Store | None = None
        self._folder_lock: int | None = None
        with contextlib.suppress(OSError):  # `run` tries again and reports the error
            self._lock_folder()

    def run(self, work: Callable[[Store], T], *, reading: bool = False) -> T:
        """Run something on the store, exclusively. Raises DiskUnavailable or FileDamaged."""
        with self._lock:
            if self._closed:
                raise DiskUnavailable(f"{self._folder}: closed")
            try:
                self._lock_folder()
                store = self._open()
                result = work(store)
                if store.exclusive and store.has_written():  # the disk has room again
                    store.close()
                    self._store = None
                return result
            except sqlite3.Error as exc:
                if not _is_damage(exc, reading):
                    raise DiskUnavailable(f"{self._folder}: {exc}") from exc
                self._rename_damaged(exc)
                raise FileDamaged(f"{self._folder / FILE}: {exc}") from exc
            except (UnicodeError, OverflowError, MemoryError) as exc:  # text, numbers or sizes of a damaged file
                self._rename_damaged(exc)
                raise FileDamaged(f"{self._folder / FILE}: {foreign_text(exc)}") from exc
            except OSError as exc:
                raise DiskUnavailable(f"{self._folder}: {exc.strerror}") from exc
            except ConfigError as exc:  # the folder could not be locked at start, and another process locked it since
                raise DiskUnavailable(str(exc)) from exc

    def set_limit(self, max_bytes: int) -> None:
        """Change the largest size of the file from the next access on. Never waits."""
        self._max_bytes = max_bytes

    def close(self) -> None:
        """Safe to call twice."""
        with self._lock:
            self._closed = True
            if self._store is not None:
                self._store.close()
            if self._folder_lock is not None:
                os.close(self._folder_lock)
            self._store = self._folder_lock = None

    def _open(self) -> Store:
        if self._store is None:
            self._store = self._open_file()
        if self._store.max_bytes != self._max_bytes:
            self._store.set_limit(self._max_bytes)
        return self._store

    def _open_file(self) -> Store:
        path = self._folder / FILE
        try:
            return Store(path, self._max_bytes)
        except sqlite3.OperationalError as exc:
            if not path.is_file() or any(text in str(exc) for text in _DAMAGED):
                raise
            try:
                return Store(path, self._max_bytes, exclusive=True)
            except sqlite3.OperationalError:
                raise exc from None

    def _rename_damaged(self, why: Exception) -> None:
        """Rename the damaged file with SQLite's companion files. Only the last damaged one is kept."""
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error, UnicodeError):
                self._store.close()
            self._store = None
        broken = self._folder / (FILE + ".broken")
        _LOG.error("outbox: %s is damaged (%s); renamed to %s", self._folder / FILE, why, broken.name)
        for suffix in ("", "-wal", "-shm"):
            part = self._folder / (FILE + suffix)
            if part.exists():
                part.replace(self._folder / (broken.name + suffix))
            else:
                (self._folder / (broken.name + suffix)).unlink(missing_ok=True)

    def _lock_folder(self) -> None:
        """Exclude a second process, which would deliver everything twice."""
        if self._folder_lock is not None:
            return
        _make_folder(self._folder)
        fd = os.open(self._folder / "outbox.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            os.close(fd)
            raise ConfigError(f"{self._folder}: in use by another edge-app; expected a separate state_dir") from exc
        self._folder_lock = fd


def _make_folder(folder: Path) -> None:
    """Create a folder and its parents, synced, so that they survive a power cut."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        fd = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


_DAMAGED = (  # of SQLite's OperationalError
    "decode",  # a text column holds other bytes
    "unsupported file format",
    "malformed",
    "no such table",
    "no such column",
)


def _is_damage(error: sqlite3.Error, reading: bool) -> bool:
    """Whether the file itself is damaged, rather than the disk full or failing for now."""
    if isinstance(error, sqlite3.OperationalError):
        if any(text in str(error) for text in _DAMAGED):
            return True
        return reading and "I/O" in str(error)  # a bad sector: retrying does not help
    return type(error) is sqlite3.DatabaseError  # SQLITE_CORRUPT and SQLITE_NOTADB have no subclass
