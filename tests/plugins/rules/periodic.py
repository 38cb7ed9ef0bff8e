"""periodic: an event of two seconds at a constant interval, reported `late_s` after its start."""

from __future__ import annotations

from collections.abc import Iterator

from edge_app.frame import Event, Frame
from edge_app.options import Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger

_LENGTH_NS = 2_000_000_000


class Rule:
    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        first_s: Seconds = 10.0,
        every_s: Seconds = 60.0,
        late_s: Seconds = 0.0,
    ) -> None:
        context.head("head", head)
        self._ledger = Ledger(context)
        self._first_ns, self._every_ns = round(first_s * 1e9), round(every_s * 1e9)
        self._late_ns = round(late_s * 1e9)
        self._due_ns: int | None = None

    def step(self, frame: Frame) -> Iterator[Event]:
        now = Moment.of(frame)
        if self._due_ns is None:
            self._due_ns = now.ns + self._first_ns
        if 0 in self._ledger and now.ns >= self._due_ns + _LENGTH_NS:
            self._due_ns += self._every_ns
            yield self._ledger.end(0, now, "planned")
        elif 0 not in self._ledger and now.ns >= self._due_ns + self._late_ns:
            yield self._ledger.begin(0, Moment(now.ns - self._late_ns, now.utc_ns - self._late_ns), now, {})

    def finish(self, reason: str, at: Moment) -> list[Event]:
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        return []
