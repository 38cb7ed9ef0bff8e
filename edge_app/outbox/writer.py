"""The thread that writes pending messages to disk: group commits, and retries while the disk cannot be used.

Not here: the file (store.py, disk.py), what is pending (state.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from threading import Condition, Thread
from typing import TypeVar

from edge_app.clock import Clock
from edge_app.config import OutboxConfig as Limits
from edge_app.outbox.disk import Disk, DiskUnavailable, FileDamaged
from edge_app.outbox.sequence import SequenceNumbers
from edge_app.outbox.state import State
from edge_app.outbox.store import Changes, Store

_LOG = logging.getLogger(__name__)
T = TypeVar("T")

COMMIT_RECORDS = 50
_GROUP_SHARE = 1 / 16  # of the cap: a larger group would make the file's log exceed it
_FIRST_RETRY_NS, _LONGEST_RETRY_NS = 1_000_000_000, 10_000_000_000


class Writer:
    """Commits at the scheduled times. report_losses: called before each commit, with the lock held."""

    def __init__(
        self,
        state: State,
        disk: Disk,
        numbers: SequenceNumbers,
        limits: Limits,
        clock: Clock,
        *,
        report_losses: Callable[[], None],
    ) -> None:
        self.commits = 0
        self.closing = False
        self._state = state
        self._disk = disk
        self._numbers = numbers
        self._limits = limits
        self._clock = clock
        self._report_losses = report_losses
        self._wake = Condition(state.lock)
        self._wake_ns: int | None = 0  # 0: at once, to open the file
        self._retry_ns = 0
        self._failures = 0  # in a row
        self._thread = Thread(target=self._run, name="outbox", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def set_limits(self, limits: Limits) -> None:
        """Use other limits from the next commit on. Call with the lock held."""
        self._limits = limits
        self.schedule(self._clock.monotonic_ns())

    def schedule(self, at_ns: int) -> None:
        """Wake up at this time at the latest. Call with the lock held."""
        if self._wake_ns is None or at_ns < self._wake_ns:
            self._wake_ns = at_ns
            self._wake.notify()

    def disk_failed(self, error: DiskUnavailable) -> None:
        """Record the failure and schedule a retry. Call with the lock held."""
        wait_ns = min(_FIRST_RETRY_NS << min(self._failures, 10), _LONGEST_RETRY_NS)
        self._failures += 1
        self._retry_ns = self._clock.monotonic_ns() + wait_ns
        if self._state.problem is None:
            _LOG.warning("outbox: %s; keeping messages in memory, at most %g MB", error, self._limits.max_memory_mb)
        self._state.problem = str(error)
        self.schedule(self._retry_ns)
        self._state.changed.notify_all()

    def file_lost(self) -> None:
        """Continue with a new file, without what the damaged one held."""
        with self._state.lock:
            self._state.file_lost()
            self.schedule(self._clock.monotonic_ns())

    def close(self, timeout_s: float) -> bool:
        """Commit pending messages and end. Returns False if the thread still runs, because the disk hangs."""
        with self._state.lock:
            self.closing = True
            self._wake.notify()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        pending = self._state.pending
        while True:
            with self._state.lock:
                while not self.closing and (wait_s := self._wait_s()) != 0:
                    self._wake.wait(wait_s)
                closing = self.closing
            self._numbers.reserve_ahead()  # if it fails, half a block is left, and the next call tries again
            if not self._state.loaded:
                self._use_disk(lambda _: None)
            with self._state.lock:
                self._report_losses()
                changes = self._due_changes(everything=closing) if self._state.loaded else None
            committed = changes is not None and self._commit(changes)
            if closing and not (committed and len(pending)):
                return

    def _wait_s(self) -> float | None:
        if self._wake_ns is None:
            return None
        return max(0, max(self._wake_ns, self._retry_ns) - self._clock.monotonic_ns()) / 1e9

    def _due_changes(self, everything: bool) -> Changes | None:
        """The changes that are due now, or None."""
        now_ns, self._wake_ns = self._clock.monotonic_ns(), None
        pending = self._state.pending
        rows: list[tuple[int, int, bytes]] = []
        due_ns = pending.due_ns()
        if due_ns is not None:
            if everything or due_ns <= now_ns or len(pending) >= COMMIT_RECORDS:
                rows = pending.group(self._limits.max_mb * 1e6 * _GROUP_SHARE)
            if len(rows) < len(pending):
                self.schedule(due_ns)
        changes = self._state.pop_changes(rows)
        due = rows or changes.refused or changes.delete_through is not None or changes.gap is not None
        probe = self._state.problem is not None and now_ns >= self._retry_ns  # an empty commit shows if the disk works
        return changes if due or probe or (everything and changes.cursors) else None

    def _commit(self, changes: Changes) -> bool:
        """Write a group, then evict messages if the file is over its cap. Returns whether the group was written."""
        deleted = self._use_disk(lambda store: store.commit(changes))
        with self._state.lock:
            if deleted is None:
                self._state.commit_failed(changes)
                return False
            self._state.committed(changes, deleted)
            self.commits += 1
        evicted = self._use_disk(lambda store: store.evict(self._state.gap_with_evicted))
        if evicted:
            with self._state.lock:
                self._state.evicted(evicted)
        return True

    def _use_disk(self, work: Callable[[Store], T]) -> T | None:
        """Run something on the store; load its content first if necessary. Returns None if the disk cannot be used."""
        for _ in range(2):  # a damaged file is replaced by a new one
            try:
                if not self._state.loaded:
                    self._disk.run(lambda store: self._state.load(store, self._numbers.resumed))
                    with self._state.lock:
                        self.schedule(self._clock.monotonic_ns())
                result = self._disk.run(work)
            except FileDamaged:
                self.file_lost()
            except DiskUnavailable as exc:
                with self._state.lock:
                    self.disk_failed(exc)
                return None
            else:
                with self._state.lock:
                    if self._state.problem is not None:
                        _LOG.warning("outbox: the disk can be used again")
                    self._failures, self._retry_ns, self._state.problem = 0, 0, None
                return result
        return None
