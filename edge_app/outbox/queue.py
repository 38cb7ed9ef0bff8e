"""The durable queue between the pipeline and the sinks: every accepted message reaches every sink, in order.

Delivery is at least once. A message is available to the sinks at once, from memory. If they have not all acknowledged
it after 0.85 s (an event: 0.05 s), or if more than 50 messages are pending, pending messages are written in one group
commit. So a healthy network causes no writes. Each sink has its own cursor. Over the cap, messages of the lowest
priority are dropped first, then the oldest, and a gap record reports them. While the disk cannot be used, messages
stay in memory (bounded) and the disk is tried again.

Not here: the file (store.py, disk.py), the thread that writes it (writer.py), sending (publish/delivery.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_app.clock import Clock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Message, decode
from edge_app.outbox.disk import Disk, DiskUnavailable, FileDamaged
from edge_app.outbox.gap import is_gap_record
from edge_app.outbox.pending import Item
from edge_app.outbox.sequence import SequenceNumbers
from edge_app.outbox.state import State, Unwritten
from edge_app.outbox.store import Changes, GapRecord, Row
from edge_app.outbox.writer import COMMIT_RECORDS, Writer

_LOG = logging.getLogger(__name__)

_COMMIT_NS = 850_000_000  # leaves time for the commit itself within the promised second
_EVENT_COMMIT_NS = 50_000_000
_DELETE_NS = 1_000_000_000
_DELETE_RECORDS = 2000
_BATCH_BYTES = 1 << 20
_OPENING_S = 0.5  # checking a large file takes longer on a small board; the pipeline starts in the meantime
_CLOSING_S = 10.0


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """queued: messages to deliver, by sink. stored: messages on disk. lost: messages dropped.

    problem: why the disk cannot be used now, or None. overdue_s: how long a commit has been due without a result.
    """

    queued: Mapping[str, int]
    stored: int
    in_memory: int
    lost: int
    commits: int
    problem: str | None
    overdue_s: float = 0.0


class Outbox:
    """Thread-safe. `put` never waits for the disk: a separate thread opens the file and commits.

    sinks: names, at least one. make_gap_record: makes the message that reports lost messages, from its number.
    reports_losses: whether gap records are put from the start on, or only after `start_reports`.
    Raises ConfigError if another process uses the folder.
    """

    def __init__(
        self,
        folder: Path,
        sinks: Sequence[str],
        limits: Limits,
        clock: Clock,
        make_gap_record: Callable[[int, GapRecord], Message],
        *,
        reports_losses: bool = True,
    ) -> None:
        self.folder = folder
        self._reports_losses = reports_losses
        self._limits = limits
        self._clock = clock
        self._make_gap_record = make_gap_record
        self._never_wait = False
        self._state = State(sinks)
        self._lock = self._state.lock
        self._disk = Disk(folder, _bytes(limits))
        self._numbers = SequenceNumbers(folder / "sequence")
        self._writer = Writer(self._state, self._disk, self._numbers, limits, clock, report_losses=self._report_losses)
        self._writer.start()
        with self._lock:
            self._state.changed.wait_for(self._state.is_open, _OPENING_S)

    # Called by the pipeline's thread.

    def put(self, make: Callable[[int], Message]) -> None:
        """Accept a message. make: builds it from its number, so that numbers and positions are in the same order."""
        with self._lock:
            self._accept(make(self._numbers.next_number()))
            self._state.changed.notify_all()

    def _accept(self, message: Message) -> None:
        now_ns, pending = self._clock.monotonic_ns(), self._state.pending
        if len(message.payload) > self._limits.max_message_kb * 1024:
            self._add_loss("message too large", [message])
            pending.settle(message)
            return
        due_ns = now_ns + (_EVENT_COMMIT_NS if message.kind == "event" else _COMMIT_NS)
        pending.append(message, due_ns)
        self._state.cursors.add_message()
        if pending.size_bytes > self._limits.max_memory_mb * 1e6:
            dropped = pending.drop_over_limit(pending.size_bytes - self._limits.max_memory_mb * 0.9e6)
            self._add_loss("memory full", [item.message for item in dropped])
            self._state.cursors.remove_messages([item.position for item in dropped])
        self._writer.schedule(now_ns if len(pending) >= COMMIT_RECORDS else due_ns)

    def start_reports(self) -> None:
        """Put gap records from now on: what must precede them has been put."""
        with self._lock:
            self._reports_losses = True
            self._writer.schedule(self._clock.monotonic_ns())

    def watch(self, on_settled: Callable[[Message], None]) -> None:
        """Call this with each event that is on disk, delivered to all sinks, or lost. It must not wait."""
        with self._lock:
            self._state.pending.on_settled = on_settled

    def stored_ids(self, ids: Collection[str]) -> frozenset[str]:
        """Those of these events that are on disk. Empty if the disk cannot be used, or is still being read."""
        with self._lock:
            loaded = self._state.loaded
        if not ids or not loaded:
            return frozenset()
        try:
            return self._disk.run(lambda store: store.ids_of_events(ids), reading=True)
        except DiskUnavailable:
            return frozenset()
        except FileDamaged:
            self._writer.file_lost()
            return frozenset()

    # Called by each sink's delivery thread.

    def next_batch(self, sink: str, limit: int, timeout_s: float) -> list[Item]:
        """The next messages for a sink, in order; empty if none arrive in time. The same until acknowledged."""
        state = self._state
        with self._lock:
            if not self._never_wait:
                state.changed.wait_for(lambda: self._never_wait or state.has_messages(sink), timeout_s)
            if self._writer.closing or not state.is_open() or sink not in state.cursors:
                return []
            cursor, last_stored = state.cursors[sink], state.last_stored
            pending = state.pending.after(cursor, limit)
        if cursor >= last_stored:
            return pending
        try:
            rows = self._disk.run(lambda store: store.read(cursor, last_stored, limit, _BATCH_BYTES), reading=True)
        except DiskUnavailable as exc:
            with self._lock:
                self._writer.disk_failed(exc)
                state.changed.wait(timeout_s)
            return []
        except FileDamaged:
            self._writer.file_lost()
            return []
        stored = [Item(row.position, message) for row in rows if (message := self._decode(row)) is not None]
        if not stored:  # all evicted or damaged: do not read them again
            self.acknowledge(sink, rows[-1].position if rows else last_stored, 0)
        at_end = not rows or rows[-1].position >= last_stored
        return stored + pending[: limit - len(rows)] if at_end else stored

    def acknowledge(self, sink: str, position: int, count: int) -> None:
        """A sink has received everything up to a position: `count` messages more than before."""
        with self._lock:
            state, now_ns = self._state, self._clock.monotonic_ns()
            if sink not in state.cursors:  # removed by `reconfigure` in the meantime
                return
            state.cursors.advance(sink, position, count, now_ns)
            lowest = state.cursors.lowest()
            state.pending.remove_through(lowest)
            if state.deleted_through < state.deletable_through():
                many = lowest - state.deleted_through >= _DELETE_RECORDS
                self._writer.schedule(now_ns if many else now_ns + _DELETE_NS)
            if state.losses:
                self._writer.schedule(max(now_ns, state.losses.next_report_ns))

    def record_refused(self, sink: str, item: Item, reason: str) -> None:
        """A sink will never accept this message: store it separately, report it, and continue with the next one.

        A refused gap record is not reported again: the sink would refuse that one too.
        """
        with self._lock:
            self._state.add_refused(sink, reason, item.message.payload)
            if not is_gap_record(item.message):
                self._state.losses.add_refused(f"refused by sink '{sink}': {reason}", item.message)
            self._writer.schedule(self._clock.monotonic_ns() + _DELETE_NS)
            self.acknowledge(sink, item.position, 1)

    # Called by any thread.

    def stats(self) -> OutboxStats:
        with self._lock:
            state = self._state
            due_ns = state.pending.due_ns() if state.problem is None else None
            return OutboxStats(
                dict(state.cursors.queued),
                state.stored,
                len(state.pending),
                state.losses.total,
                self._writer.commits,
                state.problem,
                0.0 if due_ns is None else max(0, self._clock.monotonic_ns() - due_ns) / 1e9,
            )

    def stop_waiting(self) -> None:
        """Make all calls of `next_batch`, current and later ones, return at once."""
        with self._lock:
            self._never_wait = True
            self._state.changed.notify_all()

    def reconfigure(
        self, sinks: Sequence[str], limits: Limits, make_gap_record: Callable[[int, GapRecord], Message]
    ) -> None:
        """Continue with other sinks and limits after `stop_waiting`. Nothing is dropped, whatever the disk does."""
        with self._lock:
            self._limits, self._make_gap_record = limits, make_gap_record
            self._state.cursors.replace_sinks(sinks)
            self._state.pending.remove_through(self._state.cursors.lowest())
            self._writer.set_limits(limits)
            self._never_wait = False
        self._disk.set_limit(_bytes(limits))

    def close(self, successor: Outbox | None = None) -> None:
        """Write undelivered messages to disk and release everything. Safe to call twice.

        successor: an outbox on another disk. It gets what this one cannot write.
        """
        self.stop_waiting()
        ended = self._writer.close(_CLOSING_S)  # a disk that hangs must not block the exit
        with self._lock:
            unwritten, problem = self._state.pop_unwritten(lost=successor is None), self._state.problem
        if successor is not None:
            successor._take_over(unwritten)
        elif unwritten.messages:
            _LOG.warning("outbox: %d messages are lost: %s", len(unwritten.messages), problem)
            if ended and self._state.loaded:
                self._write_gap(unwritten.gap)
        if ended:
            self._disk.close()

    def _write_gap(self, gap: GapRecord) -> None:
        """Record lost messages in the file. This may fit where the messages do not: it replaces a row."""
        try:
            self._disk.run(lambda store: store.commit(Changes(gap=gap)))
        except (DiskUnavailable, FileDamaged) as exc:
            _LOG.warning("outbox: their loss cannot be recorded: %s", exc)

    def _take_over(self, unwritten: Unwritten) -> None:
        with self._lock:
            if unwritten.gap:
                self._state.losses.add_record(unwritten.gap)
                self._writer.schedule(self._clock.monotonic_ns() + _DELETE_NS)
            for refused in unwritten.refused:
                self._state.add_refused(*refused)
            for message in unwritten.messages:
                self._accept(message)
            self._state.changed.notify_all()

    def _decode(self, row: Row) -> Message | None:
        """A stored message, or None if it is damaged."""
        try:
            return decode(row.payload or b"")
        except ValueError:
            self._state.add_damaged(row.position)
            return None

    def _add_loss(self, reason: str, messages: Sequence[Message]) -> None:
        self._state.losses.add_messages(reason, messages)
        self._writer.schedule(self._clock.monotonic_ns() + _DELETE_NS)

    def _report_losses(self) -> None:
        """Put a gap record if messages were lost and a sink can receive it, at most once a minute."""
        losses, now_ns = self._state.losses, self._clock.monotonic_ns()
        if not self._reports_losses or not losses or not self._state.cursors.any_reachable(now_ns):
            return
        if now_ns < losses.next_report_ns:
            self._writer.schedule(losses.next_report_ns)
            return
        gap = losses.pop_report(now_ns)
        self.put(lambda number: self._make_gap_record(number, gap))


def _bytes(limits: Limits) -> int:
    return round(limits.max_mb * 1e6)
