"""Accepted messages that are in memory only, in order of position. A power cut loses these.

Not here: messages on disk (store.py), when they are written (writer.py).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from edge_app.messages import Kind, Message

KINDS: tuple[Kind, ...] = ("event", "status", "result")  # the index is the priority; the highest is dropped first
PRIORITY = {kind: priority for priority, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Item:
    """A message and its position in this outbox. Positions never leave the device."""

    position: int
    message: Message


class Pending:
    """A queue of messages. Not thread-safe. next_position: of the next message. size_bytes: of all payloads.

    on_settled: called with each event that is on disk, delivered to all sinks, or dropped; must not wait.
    """

    def __init__(self, next_position: int) -> None:
        self.next_position = next_position
        self.size_bytes = 0
        self.on_settled: Callable[[Message], None] | None = None
        self._entries: deque[tuple[Item, int]] = deque()  # with the time by which it must be on disk

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, message: Message, due_ns: int) -> None:
        """Add a message at the next position."""
        self._entries.append((Item(self.next_position, message), due_ns))
        self.next_position += 1
        self.size_bytes += len(message.payload)

    def last_position(self) -> int | None:
        """The highest position of one of them. None if there are none."""
        return self._entries[-1][0].position if self._entries else None

    def pop_all(self) -> list[Message]:
        """Remove all messages and return them, oldest first."""
        messages = [item.message for item, _ in self._entries]
        self._entries.clear()
        self.size_bytes = 0
        return messages

    def due_ns(self) -> int | None:
        """The earliest time by which one of them must be on disk. None if there are none."""
        return min((due_ns for _, due_ns in self._entries), default=None)

    def after(self, position: int, limit: int) -> list[Item]:
        """At most `limit` messages with a higher position, oldest first."""
        return list(itertools.islice((item for item, _ in self._entries if item.position > position), limit))

    def group(self, max_bytes: float) -> list[tuple[int, int, bytes]]:
        """The oldest messages that fit into one commit, at least one: position, priority, payload."""
        rows: list[tuple[int, int, bytes]] = []
        for item, _ in self._entries:
            max_bytes -= len(item.message.payload)
            if rows and max_bytes < 0:
                break
            rows.append((item.position, PRIORITY[item.message.kind], item.message.payload))
        return rows

    def remove_through(self, position: int) -> None:
        """Remove messages up to a position: they are on disk or delivered."""
        while self._entries and self._entries[0][0].position <= position:
            item, _ = self._entries.popleft()
            self.size_bytes -= len(item.message.payload)
            self.settle(item.message)

    def settle(self, message: Message) -> None:
        """Report that nothing more has to be done to keep this message."""
        if self.on_settled is not None and message.kind == "event":
            self.on_settled(message)

    def drop_over_limit(self, excess_bytes: float) -> list[Item]:
        """Drop at least `excess_bytes`, the lowest priority first, then the oldest. Returns them by position."""
        dropped: list[Item] = []
        candidates = sorted((item for item, _ in self._entries), key=lambda i: (-PRIORITY[i.message.kind], i.position))
        for item in candidates:
            if excess_bytes <= 0:
                break
            excess_bytes -= len(item.message.payload)
            dropped.append(item)
            self.settle(item.message)
        self._remove({item.position for item in dropped})
        return sorted(dropped, key=lambda item: item.position)

    def renumber(self, first: int) -> None:
        """Assign new positions from `first` on, in the same order."""
        self._entries = deque(
            (replace(item, position=first + n), due_ns) for n, (item, due_ns) in enumerate(self._entries)
        )
        self.next_position = first + len(self._entries)

    def _remove(self, positions: Collection[int]) -> None:
        self._entries = deque(entry for entry in self._entries if entry[0].position not in positions)
        self.size_bytes = sum(len(item.message.payload) for item, _ in self._entries)
