"""The present state as retained topics: `state/<camera>/rules/<name>`, `…/heads/<name>`, `…/camera`, `…/device`.

Not here: what the state is and how much of it is published in a second (state/).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from edge_app.dialects import as_level
from edge_app.state import StateBoard

_OVERHEAD_BYTES = 9  # of a PUBLISH packet, in addition to topic and payload


def topic_of(base: str, source: str, state: str) -> str:
    """The topic of a state. base: the first levels. source: the camera's name. state: as `rules/door`."""
    return "/".join([base, "state", as_level(source), *(as_level(part) for part in state.split("/", 1))])


class StateTopics:
    """What a sink publishes of the state. base: the first levels of the topics. source: the camera's name."""

    def __init__(self, board: StateBoard, base: str, source: str) -> None:
        self._base, self._source = base, source
        self.prefix = f"{base}/state/{as_level(source)}/"
        self._feed = board.open()
        self._stale: list[str] = []

    def restart(self, announced: Iterable[str]) -> None:
        """Everything is published again: there is a new connection. announced: topics that were published before.

        Those that no longer exist are removed.
        """
        self._stale = list(announced)
        self._feed.restart()

    def publish(self, publish: Callable[[str, bytes], None], may_publish: Callable[[], bool]) -> None:
        """Publish what is due. may_publish: whether the broker keeps up."""
        topics = self.topics()
        if topics is None:
            return
        self._stale = [topic for topic in self._stale if topic not in topics]
        while self._stale and may_publish() and self._feed.take(len(self._stale[0].encode()) + _OVERHEAD_BYTES):
            publish(self._stale.pop(0), b"")
        while may_publish() and (found := self._feed.next(self._overhead)) is not None:
            publish(self._topic(found[0]), found[1])

    def topics(self) -> set[str] | None:
        """The topics that exist now; None until the state is known."""
        states = self._feed.topics()
        return None if states is None else {self._topic(state) for state in states}

    def announced(self) -> list[str] | None:
        """The topics that are published, or still have to be removed; None until the state is known."""
        topics = self.topics()
        return None if topics is None else sorted({*topics, *self._stale})

    def close(self) -> None:
        self._feed.close()

    def _topic(self, state: str) -> str:
        return topic_of(self._base, self._source, state)

    def _overhead(self, state: str) -> int:
        return len(self._topic(state).encode()) + _OVERHEAD_BYTES
