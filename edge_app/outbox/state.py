"""What the outbox knows in memory about its messages, in memory and on disk, guarded by one lock.

Not here: how messages get to disk and when (writer.py), who adds and receives them (queue.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Condition, RLock

from edge_app.outbox.cursors import Cursors
from edge_app.outbox.gap import LossLog
from edge_app.outbox.pending import Pending
from edge_app.outbox.store import Changes, GapRecord, Row, Store

_BEFORE_LOADING = -(1 << 40)  # positions until the file has been read: lower than any that it may hold


class State:
    """Hold `lock` for all of it. It is held for microseconds, never while waiting for the disk.

    changed: notified when there may be something new for a sink. loaded: the file has been read.
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
        """Whether the content of the disk is known, or that it cannot be known now."""
        return self.loaded or self.problem is not None

    def has_news(self, sink: str) -> bool:
        """Whether there is something for a sink."""
        return self.is_open() and self.cursors[sink] < self.pending.next_position - 1

    def add_refused(self, sink: str, reason: str, payload: bytes) -> None:
        """Keep a refused message, to be written with the next commit."""
        self._refused.append((sink, reason, payload))

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
        """Continue after what the file holds: accepted messages get positions after it. had_file: in an earlier run."""
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
        """Everything to write beside the rows."""
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
        """Take back what `pop_changes` returned."""
        self._refused[:0] = changes.refused
        if changes.gap is not None:
            self.losses.write_failed()

    def committed(self, changes: Changes, deleted: int) -> None:
        """These changes are on disk. deleted: how many messages they deleted from it."""
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
        """These were deleted from the full file."""
        self.stored -= len(rows)
        self.losses.add_evicted(rows)
        self.cursors.remove_messages([row.position for row in rows])

    def file_lost(self) -> None:
        """Everything on disk is gone. Pending messages will be written to the new file."""
        self.losses.add_unknown("outbox file damaged", self.stored)
        self.stored, self.deleted_through = 0, self.last_stored
        self.cursors.skip_to(self.last_stored)
        for sink in self.cursors:
            self.cursors.queued[sink] = len(self.pending.after(self.cursors[sink], len(self.pending)))
