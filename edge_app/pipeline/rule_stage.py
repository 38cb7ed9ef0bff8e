"""The rules stage: evaluates every configured rule on every frame, in the order of the configuration.

Not here: the rules themselves (rules/), track ids (tracking/), the published form of events (messages.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from edge_app.frame import Event, Frame, JsonValue
from edge_app.rules import Moment, Overlay, Rule


@dataclass(slots=True)
class ConfiguredRule:
    """A rule and whether it is enabled. key: the settings it was built from; equal keys mean equal rules.

    off_hours: its schedule has switched it off. open_ids: of its open events.
    """

    rule: Rule
    enabled: bool
    key: object
    off_hours: bool = False
    open_ids: set[str] = field(default_factory=set)

    @property
    def active(self) -> bool:
        """Whether it is evaluated."""
        return self.enabled and not self.off_hours

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self.open_ids.clear()
        return list(self.rule.finish(reason, at))

    def state(self) -> dict[str, JsonValue]:
        """What is true now; of a rule that does not say so itself, the number of open events."""
        own = getattr(self.rule, "state", None)
        return {"open": len(self.open_ids)} if own is None else dict(own())


class RuleStage:
    """All rules, by their configured names."""

    def __init__(self, rules: Mapping[str, ConfiguredRule]) -> None:
        self._rules = dict(rules)
        self._at = Moment(0, 0)
        self._muted = False

    def evaluate(self, frame: Frame) -> Frame:
        """Evaluate every active rule. Fills `frame.events`."""
        self._at = Moment.of(frame)
        frame.events = tuple(event for running in self._active().values() for event in running.rule.step(frame))
        for event in frame.events:
            source = self._rules.get(event.rule)
            if source is not None and event.type != "update":
                (source.open_ids.add if event.type == "new" else source.open_ids.discard)(event.event_id)
        return frame

    def apply(self, rules: Mapping[str, ConfiguredRule]) -> list[Event]:
        """Replace the rules. Those with an equal key keep their state, and are enabled or disabled as configured.

        Returns the `end` of the open events of the others.
        """
        kept = {n: r for n, r in self._rules.items() if n in rules and rules[n].key == r.key}
        events = [e for n, r in self._rules.items() if n not in kept for e in r.finish("reconfigured", self._at)]
        for name, running in kept.items():
            if running.enabled != rules[name].enabled:
                events += self.set_enabled(name, rules[name].enabled)
        self._rules = {name: kept.get(name, rule) for name, rule in rules.items()}
        return events

    def set_enabled(self, name: str, enabled: bool) -> list[Event]:
        """Enable or disable a rule. Returns the `end` of its open events. Raises KeyError if there is no such rule."""
        running = self._rules[name]
        running.enabled = enabled
        return [] if enabled else running.finish("disabled", self._at)

    def set_off_hours(self, names: Collection[str]) -> list[Event]:
        """Switch these rules off by schedule, and the others on. Returns the `end` of open events."""
        events: list[Event] = []
        for name, running in self._rules.items():
            if running.active and name in names:
                events += running.finish("schedule", self._at)
            running.off_hours = name in names
        return events

    def mute(self, muted: bool) -> list[Event]:
        """Evaluate no rule until it is called with False. Returns the `end` of open events."""
        began, self._muted = muted and not self._muted, muted
        return self.finish("muted") if began else []

    def enabled(self) -> dict[str, bool]:
        """By rule name, whether it is evaluated: enabled, not off by schedule, and not muted."""
        return {name: running.active and not self._muted for name, running in self._rules.items()}

    def finish(self, reason: str) -> list[Event]:
        """End every open event. Its end is the time of the last frame, since nothing later was observed."""
        return [event for running in self._rules.values() for event in running.finish(reason, self._at)]

    def states(self) -> dict[str, dict[str, JsonValue]]:
        """By rule name, what is true now; `enabled` and `active`: see ConfiguredRule."""
        return {
            name: {"enabled": running.enabled, "active": running.active and not self._muted, **running.state()}
            for name, running in self._rules.items()
        }

    def overlay(self) -> Sequence[Overlay]:
        """The shapes that the active rules draw onto the last frame."""
        return [
            replace(shape, rule=name) for name, running in self._active().items() for shape in running.rule.overlay()
        ]

    def _active(self) -> Mapping[str, ConfiguredRule]:
        return {} if self._muted else {name: running for name, running in self._rules.items() if running.active}
