"""A rule that raises an exception at every third frame."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.frame import Event, Frame
from edge_app.rules import Moment, RuleContext


class Rule:
    def __init__(self, context: RuleContext) -> None:
        del context
        self._frames = 0

    def step(self, frame: Frame) -> Sequence[Event]:
        self._frames += 1
        if self._frames == 3:
            raise ZeroDivisionError(f"frame {frame.sequence}")
        return ()

    def finish(self, reason: str, at: Moment) -> Sequence[Event]:
        del reason, at
        return ()

    def overlay(self) -> Sequence[object]:
        return ()
