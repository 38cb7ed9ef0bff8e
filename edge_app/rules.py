"""The stage behind the heads: ignore masks, identities, then every rule in the configuration's order.

Not here: what a rule is (analytics/), how events are published (messages.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_app import analytics, rule_blocks
from edge_app.analytics import Moment, Overlay
from edge_app.config import Config, Head
from edge_app.frame import Crops, Detections, Event, Frame
from edge_app.rule_blocks import Rule
from edge_app.shapes import Float64, inside_any, polygon_of
from edge_app.tracking import Tracker


@dataclass(slots=True)
class _Running:
    block: Rule
    rule: analytics.Rule
    enabled: bool


class Rules:
    """Masks, tracks and rules of a configuration. Raises ConfigError where a rule cannot be built."""

    def __init__(self, config: Config) -> None:
        self._surroundings = _surroundings(config)
        self._masks = {name: _polygons(head) for name, head in config.heads.items() if head.common.ignore}
        self._track = config.track
        self._tracker = None if config.track is None else Tracker(config.track)
        self._rules = {block.name: self._build(block) for block in config.rules}
        self._at = Moment(0, 0)

    def __call__(self, frame: Frame) -> Frame:
        """Leave out what is to be ignored, give detections identities, let every rule look; fills `frame.events`."""
        self._at = Moment.of(frame)
        for name, polygons in self._masks.items():
            _silence(frame, name, polygons)
        if self._tracker is not None:
            self._tracker(frame)
        frame.events = tuple(
            event for running in self._rules.values() if running.enabled for event in running.rule.step(frame)
        )
        return frame

    def apply(self, config: Config) -> list[Event]:
        """Take on another configuration; rules that are the same go on. Returns the ends of what the others had open.

        Raises ConfigError where a rule cannot be built; nothing has changed then.
        """
        new = Rules(config)
        if new._surroundings == self._surroundings:
            if new._track == self._track:
                new._tracker = self._tracker
            kept = {n: r for n, r in self._rules.items() if n in new._rules and new._rules[n].block == r.block}
        else:
            kept = {}
        events = [e for n, r in self._rules.items() if n not in kept for e in r.rule.finish("reconfigured", self._at)]
        self._surroundings, self._masks = new._surroundings, new._masks
        self._track, self._tracker = new._track, new._tracker
        self._rules = {name: kept.get(name, running) for name, running in new._rules.items()}
        return events

    def set_enabled(self, name: str, enabled: bool) -> list[Event]:
        """Switch a rule on or off. Returns the ends of its open events. Raises KeyError where there is none."""
        running = self._rules[name]
        running.enabled = enabled
        return [] if enabled else list(running.rule.finish("disabled", self._at))

    def enabled(self) -> dict[str, bool]:
        return {name: running.enabled for name, running in self._rules.items()}

    def finish(self, reason: str) -> list[Event]:
        """End every open event, at the time of the last frame: nothing is known of what came after."""
        return [event for running in self._rules.values() for event in running.rule.finish(reason, self._at)]

    def overlay(self) -> Sequence[Overlay]:
        """What the rules want drawn onto the frame that came last."""
        enabled = ((name, running.rule) for name, running in self._rules.items() if running.enabled)
        return [replace(shape, rule=name) for name, rule in enabled for shape in rule.overlay()]

    def _build(self, block: Rule) -> _Running:
        labels, tracked = self._surroundings
        return _Running(block, rule_blocks.build(block, labels, tracked), block.enabled)


def _polygons(head: Head) -> list[Float64]:
    return [polygon_of("ignore", polygon) for polygon in head.common.ignore]


def _silence(frame: Frame, name: str, polygons: Sequence[Float64]) -> None:
    """Leave out the detections of a head whose centre lies in one of the polygons, 0..1."""
    output = (frame.heads or {}).get(name)
    if output is None or not isinstance(output.result, Detections) or not len(output.result):
        return
    assert frame.heads is not None
    found = output.result
    centre = (found.xyxy[:, :2] + found.xyxy[:, 2:]) / (2 * frame.width, 2 * frame.height)
    hidden = inside_any(centre.astype(np.float64), polygons)
    if not hidden.any():
        return
    frame.heads[name] = replace(output, result=found[~hidden])
    moved = {old: new for new, old in enumerate(np.flatnonzero(~hidden).tolist())}
    for other, said in frame.heads.items():
        if isinstance(said.result, Crops) and said.result.of == name:
            kept = [(moved[row], result) for row, result in zip(said.result.row, said.result.results) if row in moved]
            crops = Crops(name, tuple(row for row, _ in kept), tuple(result for _, result in kept))
            frame.heads[other] = replace(said, result=crops)


def _surroundings(config: Config) -> tuple[Mapping[str, tuple[str, ...]], str | None]:
    labels = {name: config.manifest.heads[name].labels for name in config.heads}
    return labels, None if config.track is None else config.track.head
