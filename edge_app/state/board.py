"""The present state by topic, and what each sink still has to publish of it.

Thread-safe: the pipeline's thread sets the state, each sink's thread reads it.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from math import inf
from threading import Lock

from edge_app.frame import JsonValue
from edge_app.state.budget import Budget

MAX_PAYLOAD_BYTES = 1400
_LOG = logging.getLogger(__name__)

# Takes a command (`rules/plaza`), its payload, and a function that is called once with the answer: its fields, as
# published, and its HTTP status. It is called on this thread or another.
Answered = Callable[[Mapping[str, JsonValue], int], None]
Submit = Callable[[str, bytes, Answered], None]


class StateBoard:
    """The state of one device. Topics are relative: `rules/door`, `heads/people`, `camera`, `device`.

    budget: of all sinks together. now_s: a monotonic clock. totals: reads the counts of each rule (totals/).
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.now_s = now_s
        self.totals: Callable[[], Mapping[str, JsonValue]] = dict
        self.budget = Budget()
        self.lock = Lock()  # guards everything below, and the budget
        self.payloads: dict[str, bytes] = {}
        self.is_known = False  # `set` has been called
        self.receiver: Submit | None = None  # executes commands; set by the daemon
        self._feeds: list[StateFeed] = []
        self._changes = 0
        self._values: dict[str, JsonValue] = {}
        self._too_large: set[str] = set()

    @property
    def is_wanted(self) -> bool:
        """Whether any sink publishes the state. If not, nobody has to collect it."""
        return bool(self._feeds)

    def set(self, states: Mapping[str, JsonValue]) -> None:
        """Replace the whole state. A topic that is missing has ceased to exist."""
        if self.is_known and states == self._values:
            return
        payloads = {topic: self._encoded(topic, value) for topic, value in states.items()}
        with self.lock:
            before, self.payloads, self.is_known = self.payloads, payloads, True
            self._values = dict(states)
            self._changes += 1
            for topic in before | payloads:
                if before.get(topic) != payloads.get(topic):
                    for feed in self._feeds:
                        feed.pending.setdefault(topic, self._changes)

    def submit(self, name: str, payload: bytes, answered: Answered) -> None:
        """Pass on a command that a sink has received."""
        if self.receiver is None:
            answered({"id": "", "command": name, "ok": False, "error": "commands are not executed here"}, 503)
        else:
            self.receiver(name, payload, answered)

    def open(self) -> StateFeed:
        """What a sink has to publish; at first, everything."""
        feed = StateFeed(self)
        with self.lock:
            self._feeds.append(feed)
        feed.restart()
        return feed

    def close(self, feed: StateFeed) -> None:
        """The sink publishes nothing any more. Safe to call twice."""
        with self.lock:
            self._feeds = [each for each in self._feeds if each is not feed]

    def _encoded(self, topic: str, value: JsonValue) -> bytes:
        payload = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
        if len(payload) <= MAX_PAYLOAD_BYTES:
            self._too_large.discard(topic)
            return payload
        if topic not in self._too_large:  # only a plug-in's own state can be
            self._too_large.add(topic)
            _LOG.warning("state of %s: found %d bytes; expected at most %d", topic, len(payload), MAX_PAYLOAD_BYTES)
        kept = {n: v for n, v in value.items() if isinstance(v, (bool, int))} if isinstance(value, dict) else {}
        payload = json.dumps(kept, separators=(",", ":")).encode()
        return payload if len(payload) <= MAX_PAYLOAD_BYTES else b"{}"


class StateFeed:
    """The changes that one sink has not published over its present connection, oldest first."""

    def __init__(self, board: StateBoard) -> None:
        self._board = board
        self.pending: dict[str, float] = {}  # by topic: number of the first change since it was published
        self._published: dict[str, bytes] = {}
        self._last: dict[str, int] = {}  # by topic: when it was published, as a number
        self._count = 0

    def restart(self) -> None:
        """Publish everything again, over a new connection: changes first."""
        with self._board.lock:
            self._published.clear()
            for topic in self._board.payloads:
                self.pending.setdefault(topic, inf)

    def next(self, overhead: Callable[[str], int]) -> tuple[str, bytes] | None:
        """The next topic and its payload; b"" if it has ceased to exist. None: nothing, or not in this second.

        overhead: bytes of the message for a topic, without the payload.
        """
        board = self._board
        with board.lock:
            for topic in sorted(self.pending, key=self._order) if board.is_known else ():
                payload = board.payloads.get(topic, b"")
                if self._published.get(topic) == payload:  # it has changed back
                    del self.pending[topic]
                elif not board.budget.take(overhead(topic) + len(payload), board.now_s()):
                    return None
                else:
                    del self.pending[topic]
                    self._published[topic] = payload
                    self._count += 1
                    self._last[topic] = self._count
                    if not payload:
                        del self._published[topic], self._last[topic]
                    return topic, payload
        return None

    def _order(self, topic: str) -> tuple[float, int]:
        """The oldest change first; of the same age, what was not published for the longest time."""
        return self.pending[topic], self._last.get(topic, 0)

    def take(self, size: int) -> bool:
        """Whether a message of `size` bytes may be sent now in addition. If so, it is counted."""
        with self._board.lock:
            return self._board.budget.take(size, self._board.now_s())

    def topics(self) -> list[str] | None:
        """The topics that exist; None until the state is known."""
        with self._board.lock:
            return list(self._board.payloads) if self._board.is_known else None

    def close(self) -> None:
        self._board.close(self)
