"""The open events of a rule: every `new` has exactly one `end`, updates are rate-limited, ids depend only on frames."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass

from edge_app.frame import Event, JsonValue
from edge_app.rules import Moment, RuleContext

Value = Mapping[str, JsonValue]
_STEP_NS = 100_000_000  # smaller differences come from how frames are stamped


@dataclass(slots=True)
class _OpenEvent:
    id: str
    start: Moment
    value: Value
    published_ns: int


class Ledger:
    """Opens, updates and ends events by a key that the rule chooses. update_every_s: 0 for no updates."""

    def __init__(self, context: RuleContext, update_every_s: float = 0.0) -> None:
        self._context = context
        self._scope = f"{context.scope}-" if context.scope else ""
        self._every_ns = round(update_every_s * 1e9)
        self._open: dict[Hashable, _OpenEvent] = {}
        self._count = 0

    def __contains__(self, key: Hashable) -> bool:
        return key in self._open

    def __len__(self) -> int:
        return len(self._open)

    def begin(self, key: Hashable, start: Moment, now: Moment, value: Value) -> Event:
        """Open an event that began at `start`."""
        self._count += 1
        id_ = f"{self._scope}{self._context.name}-{start.ns}-{self._count}"
        self._open[key] = _OpenEvent(id_, start, value, now.ns)
        return self._event("new", self._open[key], None)

    def update(self, key: Hashable, now: Moment, value: Value) -> list[Event]:
        """Store the value of an open event. Returns an `update` if the last one is at least `update_every_s` old."""
        entry = self._open[key]
        entry.value = value
        if not self._every_ns or now.ns - entry.published_ns < self._every_ns:
            return []
        entry.published_ns = now.ns
        return [self._event("update", entry, None, now)]

    def end(self, key: Hashable, end: Moment, reason: str, value: Value | None = None) -> Event:
        """End an event. value: None for the last one. reason: added to the value."""
        entry = self._open.pop(key)
        entry.value = {**(entry.value if value is None else value), "reason": reason}
        return self._event("end", entry, end)

    def instant(self, now: Moment, value: Value) -> list[Event]:
        """An event without duration: `new` and `end`."""
        return [self.begin(_INSTANT, now, now, value), self.end(_INSTANT, now, "instant")]

    def finish(self, reason: str, at: Moment) -> list[Event]:
        """End all open events, oldest first."""
        return [self.end(key, at, reason) for key in list(self._open)]

    def _event(self, type_: str, entry: _OpenEvent, end: Moment | None, now: Moment | None = None) -> Event:
        start = _on_the_same_clock(entry.start, end or now)
        duration_ns = 0 if end is None else max(0, end.ns - start.ns)  # clocks step; durations are never negative
        return Event(
            type_,  # type: ignore[arg-type]  # one of its literals: begin, update and end pass them
            entry.id,
            self._context.name,
            self._context.type,
            start.ns,
            start.utc_ns,
            None if end is None else start.ns + duration_ns,
            None if end is None else start.utc_ns + duration_ns,
            entry.value,
        )


def _on_the_same_clock(start: Moment, later: Moment | None) -> Moment:
    """The start of an event in UTC as the clock shows it at a later moment, in case that the clock has been stepped."""
    if later is None:
        return start
    step_ns = (later.utc_ns - start.utc_ns) - (later.ns - start.ns)
    return start if abs(step_ns) < _STEP_NS else Moment(start.ns, start.utc_ns + step_ns)


_INSTANT = object()
