"""The schedules of a configuration: which heads and rules are off by schedule now, and whether the camera is closed.

A rule is also off while a head that it watches is. Until the clock is set, everything is on: a wrong time must not
switch a camera off. Not here: switching (loop.py), the windows (schedule/).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timezone

from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.config.rules import watched
from edge_app.frame import JsonValue
from edge_app.messages import rfc3339
from edge_app.rules import Moment
from edge_app.schedule import LocalZone, Switch, Weekly, Window

_S = 1_000_000_000


class Schedules:
    """Evaluates every schedule once a second. A replay evaluates them in UTC for each frame, on the clip's clock.

    clock_set: whether the clock has been set since the process started. off_heads, off_rules, source_off: off now.
    """

    def __init__(self, config: Config, clock: Clock, *, replay: bool, clock_set: bool = False) -> None:
        heads = {name: head.common.schedule for name, head in config.heads.items()}
        self._heads = {name: Switch(Weekly(windows)) for name, windows in heads.items() if windows}
        self._rules = {
            rule.name: _switches([rule.schedule, *(heads.get(name, ()) for name in sorted(watched(rule.options)))])
            for rule in config.rules
        }
        source = () if replay else config.source.common.schedule
        self._source = Switch(Weekly(source)) if source else None
        self._clock, self._replay = clock, replay
        self._trusted = replay or config.device.trust_clock
        self._zone = LocalZone()
        self._next_ns = 0
        self._any = bool(self._heads) or any(self._rules.values()) or self._source is not None
        self.clock_set = clock_set or self._trusted
        self.off_heads: frozenset[str] = frozenset()
        self.off_rules: frozenset[str] = frozenset()
        self.source_off = False

    def update(self) -> bool:
        """Evaluate all schedules now, at most once a second. Returns whether anything is switched on or off."""
        if not self._any or (now_ns := self._clock.monotonic_ns()) < self._next_ns:
            return False
        self._next_ns = now_ns + _S
        now = Moment(now_ns, self._clock.utc_ns())
        before = self.off_heads, self.off_rules, self.source_off
        self.clock_set = self.clock_set or self._clock.synced()
        self.update_heads(now)
        self.update_rules(now)
        self.source_off = self._source is not None and not self._on([self._source], now)
        return before != (self.off_heads, self.off_rules, self.source_off)

    def update_heads(self, now: Moment) -> bool:
        """Evaluate the schedules of the heads. Returns whether one is switched on or off."""
        before = self.off_heads
        self.off_heads = frozenset(name for name, switch in self._heads.items() if not self._on([switch], now))
        return before != self.off_heads

    def update_rules(self, now: Moment) -> bool:
        """Evaluate the schedules of the rules. Returns whether one is switched on or off."""
        before = self.off_rules
        self.off_rules = frozenset(name for name, switches in self._rules.items() if not self._on(switches, now))
        return before != self.off_rules

    def status(self) -> dict[str, JsonValue]:
        """The field `schedule` of a status: for each one, if it is on and when that changes. {} without any."""
        scheduled = {**self._heads, **{name: each[0] for name, each in self._rules.items() if each}}
        if self._source is not None:
            scheduled["source"] = self._source
        if not scheduled:
            return {}
        zone = self._zone.get()
        off = {*self.off_heads, *self.off_rules, *(["source"] if self.source_off else [])}
        entries: dict[str, JsonValue] = {}
        for name, switch in scheduled.items():
            next_s = switch.next_change_s(zone)
            entries[name] = {"on": name not in off, "next_change": None if next_s is None else rfc3339(next_s * _S)}
        return {"schedule": {"time_zone": str(zone), "clock_set": self.clock_set, "entries": entries}}

    def _on(self, switches: Collection[Switch], now: Moment) -> bool:
        if not switches:
            return True
        zone = timezone.utc if self._replay else self._zone.get()
        utc_ns = now.utc_ns if self.clock_set else None
        states = [switch.update(now.ns, utc_ns, zone) for switch in switches]
        return all(states)


def _switches(schedules: Collection[tuple[Window, ...]]) -> list[Switch]:
    return [Switch(Weekly(windows)) for windows in schedules if windows]


def source_closed(config: Config, clock: Clock) -> bool:
    """Whether the camera is closed by schedule now."""
    schedules = Schedules(config, clock, replay=False)
    schedules.update()
    return schedules.source_off
