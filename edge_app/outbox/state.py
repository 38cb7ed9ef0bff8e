"""The outbox's state: pending messages, cursors, losses, and which messages are on disk. One lock guards it.

Not here: when messages are written (writer.py), adding and delivering them (queue.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Condition, RLock

from edge_app.messages import Message
from edge_app.outbox.cursors import Cursors
from edge_app.outbox.gap import LossLog
from edge_app.outbox.pending import Pending
from edge_app.outbox.store import Changes, GapRecord, Row, Store

_BEFORE_LOADING = -(1 << 40)  # positions until the file has been read: lower than any that it may hold


@dataclass(frozen=True, slots=True)
class Unwritten:
    """What an outbox could not write to its disk. refused: sink, reason, payload."""

    messages: list[Message]
    gap: GapRecord
    refused: list[tuple[str, str, bytes]]


class State:
    """Use it with `lock` held. No one waits for the disk while holding it.

    changed: notified when there may be a new message for a sink. loaded: the file has been read.
    problem: why the disk cannot be used now, or None. last_stored: the highest position on disk.
    deleted_through: everything up to here is deleted from disk. stored: messages on disk.
    """

    def __init__(self, sinks: Sequence[str]) -> None:
        self.lock = RLock()
        self.changed = Condition(self.lock)
        self.pending = Pending(_BEFORE_LOADING)
        self.cursors = Cursors(sinks, _BEFORE_LOADING - 1)
        self.losses = LossLog()
        self.loaded = False
        self.problem: str | None = None
        self.last_stored = self.deleted_through = _BEFORE_LOADING - 1
        self.stored = 0
        self._refused: list[tuple[str, str, bytes]] = []

    def is_open(self) -> bool:
        """Whether the file has been read, or the disk cannot be used now."""
        return self.loaded or self.problem is not None

    def has_messages(self, sink: str) -> bool:
        """Whether there are messages for a sink."""
        if not self.is_open() or sink not in self.cursors:
            return False
        cursor, newest = self.cursors[sink], self.pending.last_position()
        return cursor < self.last_stored or (newest is not None and cursor < newest)

    def add_refused(self, sink: str, reason: str, payload: bytes) -> None:
        """Store a refused message with the next commit."""
        self._refused.append((sink, reason, payload))

    def pop_unwritten(self, *, lost: bool) -> Unwritten:
        """Remove what is in memory only. lost: count its messages as lost."""
        refused, self._refused = self._refused, []
        messages = self.pending.pop_all()
        if lost and messages:
            self.losses.add_messages("not stored before the end", messages)
        return Unwritten(messages, self.losses.pop_unwritten() or {}, refused)

    def deletable_through(self) -> int:
        """The position up to which messages on disk are delivered to all sinks."""
        return min(self.cursors.lowest(), self.last_stored)

    def add_damaged(self, position: int) -> None:
        """Count a message that is damaged on disk, once."""
        with self.lock:
            if self.losses.add_damaged(position):
                self.cursors.remove_messages([position])

    # Called by the writer.

    def load(self, store: Store, had_file: bool) -> None:
        """Read the file. Pending messages get positions after its own. had_file: an earlier run had a file."""
        store.keep_cursors(self.cursors)
        on_disk, first, last = store.cursors(), store.first_position(), store.last_position()
        start = last if first is None else first - 1
        positions = {sink: max(on_disk.get(sink, start), start) for sink in self.cursors}
        counts = {sink: store.count_after(position) for sink, position in positions.items()}
        stored, gap = store.count_after(start), store.gap()
        with self.lock:
            self.pending.renumber(last + 1)
            self.last_stored, self.deleted_through, self.stored = last, start, stored
            queued = {sink: count + len(self.pending) for sink, count in counts.items()}
            self.cursors.load(positions, queued, on_disk)
            self.losses.load(gap, file_missing=store.fresh and had_file)
            self.loaded = True
            self.changed.notify_all()

    def pop_changes(self, rows: Sequence[tuple[int, int, bytes]]) -> Changes:
        """The next commit: these rows, and everything else that is not on disk yet."""
        done = self.deletable_through()
        refused, self._refused = self._refused, []
        return Changes(
            rows,
            done if done > self.deleted_through else None,
            self.cursors.to_write(),
            refused,
            self.losses.pop_unwritten(),
        )

    def commit_failed(self, changes: Changes) -> None:
        """Undo `pop_changes`."""
        self._refused[:0] = changes.refused
        if changes.gap is not None:
            self.losses.write_failed()

    def committed(self, changes: Changes, deleted: int) -> None:
        """Record that changes are on disk. deleted: number of messages that they deleted."""
        if changes.rows:
            self.last_stored = max(self.last_stored, changes.rows[-1][0])
            self.pending.remove_through(self.last_stored)
        if changes.delete_through is not None:
            self.deleted_through = max(self.deleted_through, changes.delete_through)
        self.cursors.written(changes.cursors)
        self.stored += len(changes.rows) - deleted

    def gap_with_evicted(self, rows: Sequence[Row]) -> GapRecord:
        """The gap to write together with the deletion of these rows."""
        with self.lock:
            return self.losses.with_evicted(rows)

    def evicted(self, rows: Sequence[Row]) -> None:
        """Record that messages were deleted because the file is full."""
        self.stored -= len(rows)
        self.losses.add_evicted(rows)
        self.cursors.remove_messages([row.position for row in rows])

    def file_lost(self) -> None:
        """Record that the file is lost. Pending messages will be written to a new one."""
        self.losses.add_unknown("outbox file damaged", self.stored)
        self.stored, self.deleted_through = 0, self.last_stored
        self.cursors.skip_to(self.last_stored)
        for sink in self.cursors:
            self.cursors.queued[sink] = len(self.pending.after(self.cursors[sink], len(self.pending)))
