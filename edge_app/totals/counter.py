"""Counts the crossings of lines and the objects that enter zones, and writes them at most once a minute.

Each event is counted once, in the hour that the clock shows when it begins; a step of the clock counts nothing again.
Not here: the file (store.py), the rules (rules/).
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from threading import Condition, Thread

from edge_app.clock import Clock
from edge_app.errors import foreign_text
from edge_app.frame import Event, JsonValue
from edge_app.options.files import check_regular
from edge_app.schedule import LocalZone
from edge_app.totals.store import FILE, Bucket, Span, Store

_LOG = logging.getLogger(__name__)

_WRITE_EVERY_S = 60.0
_OPENING_S = 0.5
_CLOSING_S = 3.0
_DAMAGED = ("malformed", "no such", "decode", "unsupported file format", "datatype mismatch")


class Totals:
    """The totals of one camera. `count` never waits for the disk. trust_clock: the clock counts as set."""

    def __init__(self, folder: Path, camera: str, clock: Clock, *, trust_clock: bool = False) -> None:
        self._path, self._camera = folder / FILE, camera
        self._clock, self._zone = clock, LocalZone()
        self._clock_set = trust_clock
        self._store: Store | None = None
        self._failed = False
        self._changed = Condition()
        # The lock of _changed guards everything below.
        self._added: Counter[Bucket] = Counter()  # not written yet
        self._written: Mapping[Bucket, int] = {}
        self._loaded = self._closing = self._urgent = False
        self._next_write_s = 0.0
        self._thread = Thread(target=self._run, name="totals", daemon=True)
        self._thread.start()
        with self._changed:
            self._changed.wait_for(lambda: self._loaded, _OPENING_S)

    def count(self, events: Iterable[Event]) -> None:
        """Count the events that begin: crossings by direction, and objects that enter a zone."""
        for event in events:
            name = _counted(event)
            if name is not None:
                self._add(event.rule, name)

    def status(self) -> dict[str, JsonValue]:
        """The field `totals` of a status: by rule and count, the total and those of this day and hour. {} without."""
        with self._changed:
            day, hour = self._periods() or (0, 0)
            counts = Counter(self._written) + self._added
            loaded = self._loaded
        rules: dict[str, dict[str, JsonValue]] = {}
        for bucket, n in sorted(counts.items()):
            if bucket.span == "total":
                spans: tuple[tuple[Span, int], ...] = (("day", day), ("hour", hour))
                recent = {span: counts[bucket._replace(span=span, start=start)] for span, start in spans}
                rules.setdefault(bucket.rule, {})[bucket.name] = {
                    "total": n,
                    "day": recent["day"],
                    "hour": recent["hour"],
                }
        return {"totals": {"camera": self._camera, "rules": dict(rules)}} if rules and loaded else {}

    def close(self) -> None:
        """Write what is left. Safe to call twice. A disk that hangs does not block for more than some seconds."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(_CLOSING_S)

    def _add(self, rule: str, name: str) -> None:
        bucket = Bucket(self._camera, rule, name, "total")
        with self._changed:
            periods = self._periods()
            keys = [bucket._replace(span="undated")]
            if periods is not None:
                keys = [bucket._replace(span="day", start=periods[0]), bucket._replace(span="hour", start=periods[1])]
                self._urgent |= any(b.span == "hour" and b.start != periods[1] for b in self._added)
            self._added.update([bucket, *keys])
            self._changed.notify_all()

    def _periods(self) -> tuple[int, int] | None:
        """The day, as 20261127, and the start of the hour, seconds since 1970. None while the clock is not set."""
        self._clock_set = self._clock_set or self._clock.synced()
        if not self._clock_set:
            return None
        utc_s = self._clock.utc_ns() // 1_000_000_000
        local = datetime.fromtimestamp(utc_s, self._zone.get())
        return int(f"{local:%Y%m%d}"), utc_s - local.minute * 60 - local.second

    def _run(self) -> None:
        if os.path.exists(self._path):
            self._use()
        while True:
            with self._changed:
                self._loaded = True
                self._changed.notify_all()
                while not self._closing and (wait_s := self._wait_s()) != 0:
                    self._changed.wait(wait_s)
                added, self._urgent = Counter(self._added), False
                closing, periods = self._closing, self._periods()
                now_s = 0 if periods is None else self._clock.utc_ns() // 1_000_000_000
                self._next_write_s = time.monotonic() + _WRITE_EVERY_S
            if added:
                self._use(added, now_s)
            if closing:
                if self._store is not None:
                    self._store.close()
                return

    def _wait_s(self) -> float | None:
        if not self._added:
            return None
        return 0 if self._urgent else max(0.0, self._next_write_s - time.monotonic())

    def _use(self, added: Counter[Bucket] | None = None, now_s: int = 0) -> None:
        """Write counts, if there are any, and read the current ones. After an error, it is tried again in a minute."""
        try:
            check_regular(self._path)
            self._store = self._store or Store(self._path)
            if added:
                self._store.add(added, now_s)
                with self._changed:
                    self._added -= added
            with self._changed:
                day, hour = self._periods() or (0, 0)
            written = self._store.current(self._camera, day, hour)
            with self._changed:
                self._written = written
            self._failed = False
        except (sqlite3.Error, OSError, UnicodeError, OverflowError) as exc:
            self._recover(exc)

    def _recover(self, exc: Exception) -> None:
        if self._store is not None:
            with contextlib.suppress(sqlite3.Error):
                self._store.close()
            self._store = None
        damaged = type(exc) is sqlite3.DatabaseError or isinstance(exc, (UnicodeError, OverflowError))
        damaged = damaged or (isinstance(exc, sqlite3.OperationalError) and any(t in str(exc) for t in _DAMAGED))
        text = foreign_text(str(exc))
        if damaged:
            _LOG.warning("%s is damaged (%s); renamed to %s.broken, totals start at zero", self._path, text, FILE)
            with contextlib.suppress(OSError):
                for suffix in ("", "-wal", "-shm"):
                    part = self._path.with_name(FILE + suffix)
                    if part.exists():
                        part.replace(self._path.with_name(f"{FILE}.broken{suffix}"))
            with self._changed:
                self._written = {}
        elif not self._failed:
            _LOG.warning("%s: %s; totals are kept in memory until it can be written", self._path, text)
        self._failed = True


def _counted(event: Event) -> str | None:
    """The name of the count that an event adds to, or None."""
    if event.type != "new":
        return None
    if event.rule_type == "line":
        return str(event.value.get("direction", "crossed"))
    return "entered" if event.rule_type == "zone" else None
