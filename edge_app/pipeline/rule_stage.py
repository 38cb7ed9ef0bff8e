"""The rules stage: every configured rule sees every frame, in the order of the configuration.

Not here: what a rule is (the package's docstring), identities (tracking/), how events are published (messages.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from edge_app.frame import Event, Frame
from edge_app.rules import Moment, Overlay, Rule


@dataclass(slots=True)
class ConfiguredRule:
    """A rule that is built. key: what it was built from; equal keys make equal rules."""

    rule: Rule
    enabled: bool
    key: object


class RuleStage:
    """Runs rules, by their configured names."""

    def __init__(self, rules: Mapping[str, ConfiguredRule]) -> None:
        self._rules = dict(rules)
        self._at = Moment(0, 0)

    def evaluate(self, frame: Frame) -> Frame:
        """Let every enabled rule see the frame; fills `frame.events`."""
        self._at = Moment.of(frame)
        frame.events = tuple(
            event for running in self._rules.values() if running.enabled for event in running.rule.step(frame)
        )
        return frame

    def apply(self, rules: Mapping[str, ConfiguredRule]) -> list[Event]:
        """Exchange the rules; those with an equal key keep their state. Returns the ends of the others' open events."""
        kept = {n: r for n, r in self._rules.items() if n in rules and rules[n].key == r.key}
        events = [e for n, r in self._rules.items() if n not in kept for e in r.rule.finish("reconfigured", self._at)]
        self._rules = {name: kept.get(name, rule) for name, rule in rules.items()}
        return events

    def set_enabled(self, name: str, enabled: bool) -> list[Event]:
        """Switch a rule on or off. Returns the ends of its open events. Raises KeyError if there is no such rule."""
        running = self._rules[name]
        running.enabled = enabled
        return [] if enabled else list(running.rule.finish("disabled", self._at))

    def enabled(self) -> dict[str, bool]:
        """By rule name, whether it is switched on."""
        return {name: running.enabled for name, running in self._rules.items()}

    def finish(self, reason: str) -> list[Event]:
        """End every open event, at the time of the last frame: nothing is known about the time after it."""
        return [event for running in self._rules.values() for event in running.rule.finish(reason, self._at)]

    def overlay(self) -> Sequence[Overlay]:
        """What the rules draw onto the last frame."""
        enabled = ((name, running.rule) for name, running in self._rules.items() if running.enabled)
        return [replace(shape, rule=name) for name, rule in enabled for shape in rule.overlay()]
