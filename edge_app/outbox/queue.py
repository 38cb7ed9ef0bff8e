"""The durable queue between results and sinks: what is accepted is delivered to every sink, in order, at least once.

A message is offered to the sinks at once, from memory. What they have not all acknowledged within 0.85 s (an event:
within 0.05 s), or what is more than 50 messages, is written in one group commit, so that a healthy network costs no
writes at all. Each sink has a cursor of its own. Over the cap the lowest priority goes first, then the oldest, and a
gap record tells of it. Where the disk refuses, messages stay in memory (bounded) and the disk is tried again.

Not here: the file (store.py, disk.py), the numbers (sequence.py), who sends (delivery.py).
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, RLock, Thread
from typing import TypeVar

from edge_app.clock import Clock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Message, decode
from edge_app.outbox.disk import Disk, DiskRefused, FileDamaged
from edge_app.outbox.gap import Gap
from edge_app.outbox.pending import KINDS, Item, Pending
from edge_app.outbox.sequence import Sequence as Numbers
from edge_app.outbox.store import Changes, Row, Store, Tally

log = logging.getLogger(__name__)
T = TypeVar("T")

_COMMIT_NS = 850_000_000  # with the commit itself below the second that is promised
_EVENT_COMMIT_NS = 50_000_000
_COMMIT_RECORDS = 50
_DELETE_NS = 1_000_000_000
_DELETE_RECORDS = 2000
_TAKE_BYTES = 1 << 20
_ALIVE_NS = 5_000_000_000  # a sink that took something within this long will hear of a gap
_GAP_EVERY_NS = 60_000_000_000
_RETRY_NS = (1_000_000_000, 10_000_000_000)  # the first and the longest wait for a disk that refuses
_OPENING_S = 0.5  # a large file is checked for longer than this on a small board; the pipeline starts meanwhile
_UNREAD = -(1 << 40)  # first position while the file has not been read yet: before all that it may hold


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """queued: by sink. stored: messages on disk. lost: given up. problem: why the disk is not used now, or None.

    overdue_s: how long a commit has been due that neither happened nor was refused.
    """

    queued: Mapping[str, int]
    stored: int
    in_memory: int
    lost: int
    commits: int
    problem: str | None
    overdue_s: float = 0.0


class Outbox:
    """Thread-safe. `put` never waits for the disk: a thread of its own opens it and commits.

    describe_gap: makes the gap record of a number and a tally. Raises ConfigError where another process has the folder.
    """

    def __init__(
        self,
        folder: Path,
        sinks: Sequence[str],
        limits: Limits,
        clock: Clock,
        describe_gap: Callable[[int, Tally], Message],
    ) -> None:
        self._limits = limits
        self._clock = clock
        self._describe_gap = describe_gap
        self._lock = RLock()  # all below; held for microseconds, never while waiting for the disk
        self._arrived = Condition(self._lock)
        self._work = Condition(self._lock)
        self._pending = Pending()
        self._next = _UNREAD
        self._last_stored = self._deleted_through = _UNREAD - 1
        self._cursors = dict.fromkeys(sinks, _UNREAD - 1)
        self._kept_cursors: dict[str, int] = {}
        self._queued = dict.fromkeys(sinks, 0)
        self._stored = self._lost = self._commits = self._failures = 0
        self._refused: list[tuple[str, str, bytes]] = []
        self._damaged: set[int] = set()
        self._gap = Gap()
        self._gap_kept = True
        self._next_gap_ns = self._last_delivery_ns = 0
        self._wanted_ns: int | None = 0  # when the writer is to look at what is due; 0: it opens the file
        self._retry_ns = 0
        self._draining = self._closing = self._adopted = False
        self._problem: str | None = None
        self._disk = Disk(folder, round(limits.max_mb * 1e6))
        self._numbers = Numbers(folder / "sequence")
        self._writer = Thread(target=self._write, name="outbox", daemon=True)
        self._writer.start()
        with self._lock:
            self._arrived.wait_for(self._is_open, _OPENING_S)

    # What the pipeline's thread calls.

    def put(self, make: Callable[[int], Message]) -> None:
        """Accept a message. make: builds it from its number, so that numbers and places are in the same order."""
        with self._lock:
            message = make(self._numbers.take())
            now_ns = self._clock.monotonic_ns()
            if len(message.payload) > self._limits.max_message_kb * 1024:
                self._lose("message too large", [message])
                return
            due_ns = now_ns + (_EVENT_COMMIT_NS if message.kind == "event" else _COMMIT_NS)
            self._pending.append(Item(self._next, message), due_ns)
            self._next += 1
            for name in self._queued:
                self._queued[name] += 1
            if self._pending.size_bytes > self._limits.max_memory_mb * 1e6:
                lost = self._pending.shed(self._pending.size_bytes - self._limits.max_memory_mb * 0.9e6)
                self._lose("memory full", [item.message for item in lost])
                self._unqueue([item.position for item in lost])
            self._want(now_ns if len(self._pending) >= _COMMIT_RECORDS else due_ns)
            self._arrived.notify_all()

    # What each sink's worker calls.

    def take(self, sink: str, limit: int, timeout_s: float) -> list[Item]:
        """The next messages for a sink, in order; none where none came in time. The same again until `delivered`."""
        with self._lock:
            if not self._draining:
                self._arrived.wait_for(lambda: self._has_news(sink), timeout_s)
            if self._closing or not self._is_open():
                return []
            cursor, stored = self._cursors[sink], self._last_stored
            fresh = self._pending.after(cursor, limit)
        if cursor >= stored:
            return fresh
        try:
            rows = self._disk.run(lambda store: store.read(cursor, stored, limit, _TAKE_BYTES), reading=True)
        except DiskRefused as exc:
            with self._lock:
                self._note_refusal(exc)
                self._arrived.wait(timeout_s)
            return []
        except FileDamaged:
            self._lose_file()
            return []
        kept = [Item(row.position, message) for row in rows if (message := self._whole(row)) is not None]
        if not kept:  # evicted or damaged, all of it: do not look there again
            self.delivered(sink, rows[-1].position if rows else stored, 0)
        exhausted = not rows or rows[-1].position >= stored
        return kept + fresh[: limit - len(rows)] if exhausted else kept

    def delivered(self, sink: str, position: int, count: int) -> None:
        """A sink has everything up to a position for certain: `count` messages more than before."""
        with self._lock:
            self._cursors[sink] = max(self._cursors[sink], position)
            self._queued[sink] = max(0, self._queued[sink] - count)
            low = min(self._cursors.values())
            self._pending.forget(low)
            self._last_delivery_ns = now_ns = self._clock.monotonic_ns()
            if self._deleted_through < min(low, self._last_stored):
                self._want(now_ns if low - self._deleted_through >= _DELETE_RECORDS else now_ns + _DELETE_NS)
            if self._gap:
                self._want(max(now_ns, self._next_gap_ns))

    def refuse(self, sink: str, item: Item, reason: str) -> None:
        """A sink will never take this message: keep it aside and go on behind it."""
        with self._lock:
            self._refused.append((sink, reason, item.message.payload))
            self._want(self._clock.monotonic_ns() + _DELETE_NS)
            self.delivered(sink, item.position, 1)

    # What all may call.

    def stats(self) -> OutboxStats:
        with self._lock:
            queued = dict(self._queued)
            due_ns = self._pending.due_ns() if self._problem is None else None
            overdue_s = 0.0 if due_ns is None else max(0, self._clock.monotonic_ns() - due_ns) / 1e9
            return OutboxStats(
                queued, self._stored, len(self._pending), self._lost, self._commits, self._problem, overdue_s
            )

    def drain(self) -> None:
        """From now on `take` never waits."""
        with self._lock:
            self._draining = True
            self._arrived.notify_all()

    def close(self) -> None:
        """Commit what is not delivered, release everything. Safe to call twice."""
        self.drain()
        with self._lock:
            self._closing = True
            self._work.notify()
        self._writer.join(10.0)  # a disk that hangs must not hold the exit
        if not self._writer.is_alive():
            self._disk.close()

    def _is_open(self) -> bool:
        """Whether it is known what lies on the disk, or that it cannot be known now."""
        return self._adopted or self._problem is not None

    def _has_news(self, sink: str) -> bool:
        return self._draining or (self._is_open() and self._cursors[sink] < self._next - 1)

    # The writer's thread.

    def _write(self) -> None:
        while True:
            with self._lock:
                while not self._closing and (wait_s := self._wait_s()) != 0:
                    self._work.wait(wait_s)
                closing = self._closing
            self._numbers.reserve_ahead()  # where it is refused: again next time, half a block is left
            if not self._adopted:
                self._on_disk(Store.by_priority)
            with self._lock:
                self._tell_gap()
                changes = self._collect(everything=closing) if self._adopted else None
            committed = changes is not None and self._commit(changes)
            if closing and not (committed and len(self._pending)):
                if len(self._pending):
                    log.warning("outbox: %d messages could not be kept: %s", len(self._pending), self._problem)
                return

    def _wait_s(self) -> float | None:
        if self._wanted_ns is None:
            return None
        return max(0, max(self._wanted_ns, self._retry_ns) - self._clock.monotonic_ns()) / 1e9

    def _want(self, at_ns: int) -> None:
        """The writer is to look at what is due, then at the latest."""
        if self._wanted_ns is None or at_ns < self._wanted_ns:
            self._wanted_ns = at_ns
            self._work.notify()

    def _collect(self, everything: bool) -> Changes | None:
        """What is due to be written now, if anything."""
        now_ns, self._wanted_ns = self._clock.monotonic_ns(), None
        changes = Changes()
        due_ns = self._pending.due_ns()
        if due_ns is not None:
            if everything or due_ns <= now_ns or len(self._pending) >= _COMMIT_RECORDS:
                # a larger group would make the file's log outgrow the cap
                changes.rows = self._pending.group(self._limits.max_mb * 1e6 / 16)
            if len(changes.rows) < len(self._pending):
                self._want(due_ns)
        done = min(min(self._cursors.values(), default=_UNREAD), self._last_stored)
        if done > self._deleted_through:
            changes.delete_through = done
        changes.refused, self._refused = self._refused, []
        if not self._gap_kept:
            changes.gap, self._gap_kept = self._gap.as_json(), True
        if len(self._cursors) > 1:  # one sink's cursor is where its rows begin
            changes.cursors = {n: c for n, c in self._cursors.items() if self._kept_cursors.get(n) != c}
        due = changes.rows or changes.refused or changes.delete_through is not None or changes.gap is not None
        again = self._problem is not None and now_ns >= self._retry_ns  # see whether the disk is back
        return changes if due or again or (everything and changes.cursors) else None

    def _commit(self, changes: Changes) -> bool:
        """Write a group, then make room where the file is over its cap. Returns whether it was written."""
        deleted = self._on_disk(lambda store: store.commit(changes))
        with self._lock:
            if deleted is None:
                self._refused[:0] = changes.refused
                self._gap_kept = self._gap_kept and changes.gap is None
                return False
            if changes.rows:
                self._last_stored = max(self._last_stored, changes.rows[-1][0])
                self._pending.forget(self._last_stored)
            if changes.delete_through is not None:
                self._deleted_through = max(self._deleted_through, changes.delete_through)
            self._kept_cursors.update(changes.cursors)
            self._stored += len(changes.rows) - deleted
            self._commits += 1
        evicted = self._on_disk(lambda store: store.evict(self._tally_with))
        if evicted:
            with self._lock:
                self._stored -= len(evicted)
                self._lost += len(evicted)
                _add_evicted(self._gap, evicted)
                self._unqueue([row.position for row in evicted])
        return True

    def _on_disk(self, work: Callable[[Store], T]) -> T | None:
        """Do something with the store. Returns None where the disk refuses, which is noted for `_wait_s`."""
        for _ in range(2):  # a damaged file is replaced by a fresh one
            try:
                if not self._adopted:
                    self._disk.run(self._adopt)
                result = self._disk.run(work)
            except FileDamaged:
                self._lose_file()
            except DiskRefused as exc:
                with self._lock:
                    self._note_refusal(exc)
                return None
            else:
                with self._lock:
                    if self._problem is not None:
                        log.warning("outbox: the disk is in use again")
                    self._failures, self._retry_ns, self._problem = 0, 0, None
                return result
        return None

    def _adopt(self, store: Store) -> None:
        """Go on behind what the file holds. What was put meanwhile moves behind it."""
        store.keep_cursors(self._cursors)
        kept, first, last = store.cursors(), store.first_position(), store.last_position()
        start = last if first is None else first - 1
        after = {name: max(kept.get(name, start), start) for name in self._cursors}
        counts = {name: store.count_after(position) for name, position in after.items()}
        stored = store.count_after(start)
        with self._lock:
            self._pending.renumber(last + 1)
            self._next = last + 1 + len(self._pending)
            self._last_stored, self._deleted_through, self._stored = last, start, stored
            self._cursors, self._kept_cursors = after, kept
            self._queued = {name: count + len(self._pending) for name, count in counts.items()}
            self._gap.merge(Gap.from_json(store.gap()))
            if store.fresh and self._numbers.resumed and not self._gap:
                self._gap.add_unknown("outbox file missing")
            self._adopted = True
            self._want(self._clock.monotonic_ns())
            self._arrived.notify_all()

    # What could not be kept.

    def _note_refusal(self, why: DiskRefused) -> None:
        wait_ns = min(_RETRY_NS[0] << min(self._failures, 10), _RETRY_NS[1])
        self._failures += 1
        self._retry_ns = self._clock.monotonic_ns() + wait_ns
        if self._problem is None:
            log.warning("outbox: %s; keeping up to %g MB in memory", why, self._limits.max_memory_mb)
        self._problem = str(why)
        self._want(self._retry_ns)
        self._arrived.notify_all()

    def _lose_file(self) -> None:
        """What was on disk is gone; what is in memory is written to the fresh file."""
        with self._lock:
            self._gap.add_unknown("outbox file damaged")
            self._gap_kept = False
            self._lost += self._stored
            self._stored, self._kept_cursors, self._deleted_through = 0, {}, self._last_stored
            for name, cursor in self._cursors.items():
                self._cursors[name] = after = max(cursor, self._last_stored)
                self._queued[name] = len(self._pending.after(after, len(self._pending)))
            self._want(self._clock.monotonic_ns())

    def _whole(self, row: Row) -> Message | None:
        """A kept message, or None where it was damaged on disk."""
        try:
            return decode(row.payload or b"")
        except ValueError:
            with self._lock:
                if row.position not in self._damaged:
                    self._damaged.add(row.position)
                    self._gap.add_unknown("message damaged on disk")
                    self._gap_kept = False
                    self._lost += 1
                    self._unqueue([row.position])
            return None

    def _lose(self, reason: str, messages: Sequence[Message]) -> None:
        self._gap.add(reason, [message.kind for message in messages], messages[0].id, messages[-1].id)
        self._gap_kept = False
        self._lost += len(messages)
        self._want(self._clock.monotonic_ns() + _DELETE_NS)

    def _unqueue(self, positions: Collection[int]) -> None:
        for name, cursor in self._cursors.items():
            self._queued[name] = max(0, self._queued[name] - sum(position > cursor for position in positions))

    def _tally_with(self, evicted: Sequence[Row]) -> Tally:
        """The tally as it will be when these are gone."""
        with self._lock:
            gap = copy.deepcopy(self._gap)
        _add_evicted(gap, evicted)
        return gap.as_json()

    def _tell_gap(self) -> None:
        """Put a gap record where something was lost and a sink is there to hear of it, at most once a minute."""
        now_ns = self._clock.monotonic_ns()
        heard = now_ns - self._last_delivery_ns < _ALIVE_NS or 0 in self._queued.values()
        if not self._gap or not heard:
            return
        if now_ns < self._next_gap_ns:
            self._want(self._next_gap_ns)
            return
        tally, self._gap, self._gap_kept = self._gap.as_json(), Gap(), False
        self._next_gap_ns = now_ns + _GAP_EVERY_NS
        self.put(lambda number: self._describe_gap(number, tally))


def _add_evicted(gap: Gap, evicted: Sequence[Row]) -> None:
    ids = [_id_of(evicted[0]), _id_of(evicted[-1])]
    gap.add("outbox full", [KINDS[row.priority] for row in evicted], *ids)


def _id_of(row: Row) -> str | None:
    try:
        return decode(row.payload or b"").id
    except ValueError:
        return None
