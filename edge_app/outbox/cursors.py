"""The cursor of each sink, and the number of messages that are queued for it."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

_REACHABLE_NS = 5_000_000_000


class Cursors:
    """A cursor for each sink: it has received everything up to this position. Not thread-safe.

    queued: accepted messages that the sink has not received, by sink.
    """

    def __init__(self, sinks: Sequence[str], position: int) -> None:
        self.queued = dict.fromkeys(sinks, 0)
        self._positions = dict.fromkeys(sinks, position)
        self._on_disk: dict[str, int] = {}
        self._last_advance_ns = 0

    def __getitem__(self, sink: str) -> int:
        return self._positions[sink]

    def __iter__(self) -> Iterator[str]:
        return iter(self._positions)

    def __contains__(self, sink: str) -> bool:
        return sink in self._positions

    def lowest(self) -> int:
        """The position up to which all sinks have received everything."""
        return min(self._positions.values())

    def any_reachable(self, now_ns: int) -> bool:
        """Whether a sink has received something in the last five seconds, or has nothing to receive."""
        return now_ns - self._last_advance_ns < _REACHABLE_NS or 0 in self.queued.values()

    def add_message(self) -> None:
        """Count a message that was accepted."""
        for sink in self.queued:
            self.queued[sink] += 1

    def remove_messages(self, positions: Collection[int]) -> None:
        """Count messages that were dropped."""
        for sink, cursor in self._positions.items():
            self.queued[sink] = max(0, self.queued[sink] - sum(position > cursor for position in positions))

    def advance(self, sink: str, position: int, count: int, now_ns: int) -> None:
        """A sink has received everything up to a position: `count` messages more than before."""
        self._positions[sink] = max(self._positions[sink], position)
        self.queued[sink] = max(0, self.queued[sink] - count)
        self._last_advance_ns = now_ns

    def replace_sinks(self, sinks: Sequence[str]) -> None:
        """Change the sinks. A new one starts where the slowest of the old ones is; the others keep their cursors."""
        slowest = min(self._positions, key=self._positions.__getitem__)
        start, queued = self._positions[slowest], self.queued[slowest]
        self._positions = {sink: self._positions.get(sink, start) for sink in sinks}
        self.queued = {sink: self.queued.get(sink, queued) for sink in sinks}
        self._on_disk = {sink: position for sink, position in self._on_disk.items() if sink in self._positions}

    def load(self, positions: Mapping[str, int], queued: Mapping[str, int], on_disk: Mapping[str, int]) -> None:
        """Set everything from the file."""
        self._positions, self.queued, self._on_disk = dict(positions), dict(queued), dict(on_disk)

    def skip_to(self, position: int) -> None:
        """Move all cursors at least to a position, because the file is lost. The caller sets `queued`."""
        for sink, cursor in self._positions.items():
            self._positions[sink] = max(cursor, position)
        self._on_disk = {}

    def to_write(self) -> dict[str, int]:
        """Cursors that are not on disk. Empty for a single sink: its cursor follows from the first row of the file."""
        if len(self._positions) < 2:
            return {}
        return {sink: cursor for sink, cursor in self._positions.items() if self._on_disk.get(sink) != cursor}

    def written(self, cursors: Mapping[str, int]) -> None:
        """Record that cursors are on disk."""
        self._on_disk.update(cursors)
