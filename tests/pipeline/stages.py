"""Tracker and rules as the pipeline runs them, without a source or a model."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.config import Config
from edge_app.frame import Event, Frame
from edge_app.pipeline.build import build_rules, build_tracker
from edge_app.pipeline.rule_stage import RuleStage
from edge_app.rules import Overlay


class Stages:
    """Tracker and rules of one configuration."""

    def __init__(self, config: Config) -> None:
        self.tracker = build_tracker(config)
        self.rules = RuleStage(build_rules(config))

    def run(self, frame: Frame) -> Frame:
        if self.tracker is not None:
            self.tracker.track(frame)
        return self.rules.evaluate(frame)

    def apply(self, config: Config) -> list[Event]:
        return self.rules.apply(build_rules(config))

    def finish(self, reason: str) -> list[Event]:
        return self.rules.finish(reason)

    def overlay(self) -> Sequence[Overlay]:
        return self.rules.overlay()
