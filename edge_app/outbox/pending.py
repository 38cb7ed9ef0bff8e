"""Messages that are neither on disk nor delivered to all: what a power cut would take, in the order of their places."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, replace

from edge_app.messages import Kind, Message

KINDS: tuple[Kind, ...] = ("event", "status", "result")  # by priority: 0 goes last
PRIORITY = {kind: priority for priority, kind in enumerate(KINDS)}


@dataclass(frozen=True, slots=True)
class Item:
    """A message and its place in this outbox; places never leave the device."""

    position: int
    message: Message


class Pending:
    """Not thread-safe. size_bytes: of the payloads."""

    def __init__(self) -> None:
        self.size_bytes = 0
        self._entries: deque[tuple[Item, int]] = deque()  # with the time at which it is to be on disk

    def __len__(self) -> int:
        return len(self._entries)

    def append(self, item: Item, due_ns: int) -> None:
        """Positions rise."""
        self._entries.append((item, due_ns))
        self.size_bytes += len(item.message.payload)

    def due_ns(self) -> int | None:
        """When the first of them is to be on disk."""
        return min((due_ns for _, due_ns in self._entries), default=None)

    def after(self, position: int, limit: int) -> list[Item]:
        """The first of them behind a place."""
        return list(itertools.islice((item for item, _ in self._entries if item.position > position), limit))

    def group(self, room_bytes: float) -> list[tuple[int, int, bytes]]:
        """The first that fit into one commit, one at least: position, priority, payload."""
        rows: list[tuple[int, int, bytes]] = []
        for item, _ in self._entries:
            room_bytes -= len(item.message.payload)
            if rows and room_bytes < 0:
                break
            rows.append((item.position, PRIORITY[item.message.kind], item.message.payload))
        return rows

    def forget(self, through: int) -> None:
        """They are on disk or delivered now."""
        while self._entries and self._entries[0][0].position <= through:
            item, _ = self._entries.popleft()
            self.size_bytes -= len(item.message.payload)

    def shed(self, excess_bytes: float) -> list[Item]:
        """Give up the lowest priority, then the oldest. Returns what is gone, by position."""
        lost: list[Item] = []
        by_worth = sorted((item for item, _ in self._entries), key=lambda i: (-PRIORITY[i.message.kind], i.position))
        for item in by_worth:
            if excess_bytes <= 0:
                break
            excess_bytes -= len(item.message.payload)
            lost.append(item)
        self._keep_without({item.position for item in lost})
        return sorted(lost, key=lambda item: item.position)

    def renumber(self, first: int) -> None:
        """Give them other places, in the same order."""
        self._entries = deque(
            (replace(item, position=first + n), due_ns) for n, (item, due_ns) in enumerate(self._entries)
        )

    def _keep_without(self, gone: Collection[int]) -> None:
        self._entries = deque(entry for entry in self._entries if entry[0].position not in gone)
        self.size_bytes = sum(len(item.message.payload) for item, _ in self._entries)
