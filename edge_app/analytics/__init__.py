"""Rules, one file each: from what the heads saw to events that mean something. This is the contract.

A rule is `Rule(context, *, options…)`: constructing it is the check of its options, which raises OptionError, and it
opens nothing. Events are a pure function of the frames' content and timestamps: the same clip gives the same bytes.
Not here: running the rules (rules.py), identities (tracking.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from edge_app.frame import Event, Frame
from edge_app.rule_blocks import RuleContext

__all__ = ["Moment", "Overlay", "Point", "Rule", "RuleContext"]

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Moment:
    """When: `Frame.captured_ns`, and the UTC beside it."""

    ns: int
    utc_ns: int

    @classmethod
    def of(cls, frame: Frame) -> Moment:
        return cls(frame.captured_ns, frame.utc_ns)


@dataclass(frozen=True, slots=True)
class Overlay:
    """What a rule wants drawn: a polygon or line with a text, 0..1 of the picture; without points, a caption.

    rule: the configured name, filled in by rules.py.
    """

    points: tuple[Point, ...]
    text: str = ""
    closed: bool = False
    alert: bool = False
    rule: str = ""


class Rule(Protocol):
    """One configured rule. Its state is bounded, however long it runs."""

    def step(self, frame: Frame) -> Iterable[Event]:
        """Look at a frame; its heads are filled, boxes of the tracked head have identities."""
        ...

    def finish(self, reason: str, at: Moment) -> Iterable[Event]:
        """End every open event; what was going on is forgotten, what was counted is not."""
        ...

    def overlay(self) -> Iterable[Overlay]:
        """What to draw onto the frame that `step` saw last."""
        ...
