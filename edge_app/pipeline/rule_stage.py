"""The rules stage: evaluates every configured rule on every frame, in the order of the configuration.

Not here: the rules themselves (rules/), track ids (tracking/), the published form of events (messages.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_app.frame import Event, Frame
from edge_app.rules import Moment, Overlay, Rule


@dataclass(slots=True)
class ConfiguredRule:
    """A rule and whether it is enabled. key: the settings it was built from; equal keys mean equal rules."""

    rule: Rule
    enabled: bool
    key: object


class RuleStage:
    """All rules, by their configured names."""

    def __init__(self, rules: Mapping[str, ConfiguredRule]) -> None:
        self._rules = dict(rules)
        self._at = Moment(0, 0)

    def evaluate(self, frame: Frame) -> Frame:
        """Evaluate every enabled rule. Fills `frame.events`."""
        self._at = Moment.of(frame)
        frame.events = tuple(
            event for running in self._rules.values() if running.enabled for event in running.rule.step(frame)
        )
        return frame

    def apply(self, rules: Mapping[str, ConfiguredRule]) -> list[Event]:
        """Replace the rules. Those with an equal key keep their state. Returns the `end` of the others' open events."""
        kept = {n: r for n, r in self._rules.items() if n in rules and rules[n].key == r.key}
        events = [e for n, r in self._rules.items() if n not in kept for e in r.rule.finish("reconfigured", self._at)]
        self._rules = {name: kept.get(name, rule) for name, rule in rules.items()}
        return events

    def set_enabled(self, name: str, enabled: bool) -> list[Event]:
        """Enable or disable a rule. Returns the `end` of its open events. Raises KeyError if there is no such rule."""
        running = self._rules[name]
        running.enabled = enabled
        return [] if enabled else list(running.rule.finish("disabled", self._at))

    def enabled(self) -> dict[str, bool]:
        """By rule name, whether it is enabled."""
        return {name: running.enabled for name, running in self._rules.items()}

    def finish(self, reason: str) -> list[Event]:
        """End every open event. Its end is the time of the last frame, since nothing later was observed."""
        return [event for running in self._rules.values() for event in running.rule.finish(reason, self._at)]

    def overlay(self) -> Sequence[Overlay]:
        """The shapes that the enabled rules draw onto the last frame."""
        enabled = ((name, running.rule) for name, running in self._rules.items() if running.enabled)
        return [replace(shape, rule=name) for name, rule in enabled for shape in rule.overlay()]
