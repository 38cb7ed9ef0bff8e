"""flicker: events that begin and end all the time, some within a frame, by a seeded plan."""

from __future__ import annotations

import random
from collections.abc import Iterator

from edge_app.frame import Event, Frame
from edge_app.options import Positive
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger


class Rule:
    """At most `open` events at a time, each for 1 to 40 frames; one in four is instant."""

    def __init__(self, context: RuleContext, *, head: str, open: Positive = 4, seed: int = 0) -> None:  # noqa: A002
        context.head("head", head)
        self._ledger = Ledger(context, 0.2)
        self._most = open
        self._random = random.Random(seed)
        self._left: dict[int, int] = {}  # frames until the event ends
        self._key = 0

    def step(self, frame: Frame) -> Iterator[Event]:
        now = Moment.of(frame)
        for key in list(self._left):
            self._left[key] -= 1
            if self._left[key]:
                yield from self._ledger.update(key, now, {"left": self._left[key]})
            else:
                del self._left[key]
                yield self._ledger.end(key, now, "planned")
        if len(self._left) < self._most:
            if self._random.random() < 0.25:
                yield from self._ledger.instant(now, {})
            self._key += 1
            self._left[self._key] = self._random.randint(1, 40)
            yield self._ledger.begin(self._key, now, now, {"left": self._left[self._key]})

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._left.clear()
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        return []
