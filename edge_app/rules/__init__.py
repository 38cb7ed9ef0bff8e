"""Rules, one file each: from what the heads saw to events that mean something. This is the contract.

A rule is `Rule(context, *, options…)`: constructing it is the check of its options, which raises OptionError, and it
opens nothing. Events are a pure function of the frames' content and timestamps: the same clip gives the same bytes.
Not here: running the rules (rules.py), identities (tracking.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge_app.errors import OptionError
from edge_app.frame import Event, Frame
from edge_app.options.document import nearest

Point = tuple[float, float]
Labels = Mapping[str, tuple[str, ...]]  # by head name


@dataclass(frozen=True, slots=True)
class RuleContext:
    """What a rule is told about its surroundings: its name and type, the labels of each head, the tracked head."""

    name: str
    type: str
    labels: Labels
    tracked: str | None = None

    def head(self, option: str, name: str, *, tracked: bool = False) -> tuple[str, ...]:
        """The labels of a head. Raises OptionError where there is none of that name, or it has no tracks but must."""
        if name not in self.labels:
            raise OptionError(option, f"there is no head '{name}'{nearest(name, self.labels)}")
        if tracked and name != self.tracked:
            found = f"'{self.tracked}' is" if self.tracked else "no head is"
            raise OptionError(option, f"'{name}' is not tracked, {found}; expected track: {{head: {name}}}")
        return self.labels[name]

    def classes(self, option: str, head: str, wanted: Iterable[str]) -> frozenset[int]:
        """The class ids of labels of a head, of all where none are named. Raises OptionError on unknown ones."""
        labels = self.labels[head]
        for label in wanted:
            if label not in labels:
                raise OptionError(option, f"the head '{head}' has no class '{label}'{nearest(label, labels)}")
        return frozenset(i for i, label in enumerate(labels) if not wanted or label in wanted)


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
