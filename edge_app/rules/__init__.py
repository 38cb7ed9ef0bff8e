"""Rules turn the outputs of heads into events. One file per rule type; this is their contract.

A rule is `Rule(context, *, options…)`. Its constructor checks the options, raises OptionError, and opens nothing.
Events depend only on the content and the timestamps of frames: the same clip gives the same events.
Not here: running the rules (pipeline/rule_stage.py), track ids (tracking/).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_app.errors import OptionError
from edge_app.frame import Event, Frame
from edge_app.options.document import nearest

Point = tuple[float, float]
Labels = Mapping[str, tuple[str, ...]]  # by head name


@dataclass(frozen=True, slots=True)
class RuleContext:
    """The configuration of a rule: its name and type, the labels of each head, the tracked head.

    scope: of a camera after the first of several, its name: the ids of its events begin with it. state_dir: the folder
    of persistent state; None while a configuration is only checked: a rule then opens nothing.
    """

    name: str
    type: str
    labels: Labels
    tracked: str | None = None
    scope: str = ""
    state_dir: Path | None = None

    def head(self, option: str, name: str, *, tracked: bool = False) -> tuple[str, ...]:
        """The labels of a head. Raises OptionError if the head does not exist, or is not tracked but has to be."""
        if name not in self.labels:
            raise OptionError(option, f"there is no head '{name}'{nearest(name, self.labels)}")
        if tracked and name != self.tracked:
            tracked_text = f"'{self.tracked}' is" if self.tracked else "no head is"
            raise OptionError(option, f"'{name}' is not tracked, {tracked_text}; expected track: {{head: {name}}}")
        return self.labels[name]

    def classes(self, option: str, head: str, selected: Iterable[str]) -> frozenset[int]:
        """The class ids of the selected labels of a head; of all its labels if none is selected.

        Raises OptionError if a label is unknown.
        """
        labels = self.labels[head]
        for label in selected:
            if label not in labels:
                raise OptionError(option, f"the head '{head}' has no class '{label}'{nearest(label, labels)}")
        return frozenset(i for i, label in enumerate(labels) if not selected or label in selected)


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time: ns as in `Frame.captured_ns`, and the same moment in UTC."""

    ns: int
    utc_ns: int

    @classmethod
    def of(cls, frame: Frame) -> Moment:
        return cls(frame.captured_ns, frame.utc_ns)


@dataclass(frozen=True, slots=True)
class Overlay:
    """A shape that a rule draws: a polygon or line with a text. Without points it is a caption.

    points: 0..1 of the image. closed: a polygon. alert: highlight it. rule: the configured name, set by the rules
    stage.
    """

    points: tuple[Point, ...]
    text: str = ""
    closed: bool = False
    alert: bool = False
    rule: str = ""


class Rule(Protocol):
    """One configured rule. Its memory is bounded, however long it runs.

    A rule may also have `state() -> dict[str, JsonValue]`: what is true now, published as a retained topic; at most
    about 1 kB. Without, its state is the number of open events.
    """

    def step(self, frame: Frame) -> Iterable[Event]:
        """Evaluate a frame. Use `frame.outputs`: the boxes of the tracked head have track ids."""
        ...

    def finish(self, reason: str, at: Moment) -> Iterable[Event]:
        """End every open event, and forget the objects in progress. Counts are kept."""
        ...

    def overlay(self) -> Iterable[Overlay]:
        """The shapes to draw onto the frame that `step` evaluated last."""
        ...
