"""A rule with an option that is a path: overrides.yaml must not set it."""

from __future__ import annotations

from pathlib import Path

from edge_app.frame import Event, Frame
from edge_app.rules import Moment, Overlay, RuleContext


class Rule:
    def __init__(self, context: RuleContext, *, file: Path = Path("log"), every: int = 1) -> None:
        self.file, self.every = file, every

    def step(self, frame: Frame) -> list[Event]:
        return []

    def finish(self, reason: str, at: Moment) -> list[Event]:
        return []

    def overlay(self) -> list[Overlay]:
        return []
