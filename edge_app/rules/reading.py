"""reading: the number on a panel, put in reading order, voted over time, told of when it is stable and has changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import numpy as np

from edge_app.errors import OptionError
from edge_app.frame import Detections, Event, Float32, Frame, JsonValue, Segmentation
from edge_app.options import Fraction, Point, Positive, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._digits import Digits, Glyphs, arrange
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import rounded
from edge_app.rules._votes import Stable, Votes

_KEY = "reading"


class Rule:
    """One event for each number: `new` when it is stable, `end` when another takes its place.

    heads: the digits and, where there is one, the panel they stand on. digits: how many there are; without it the usual
    number is found out. rows: how many lines of digits, read from top to bottom. frames: how many must agree, digit by
    digit, and confidence: how sure they must be of each. length_s: how long a reading must last that has more or fewer
    digits than usual, or a gap, or digits that stick out of the panel, or that lies elsewhere: a hand on the panel is
    no new number, and neither is a number that comes back from behind it, or from the dark. monotonic: `up` never goes
    back, but for the roll-over from nines to zeros; `down` the other way.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        heads: tuple[str, ...],
        digits: Positive | None = None,
        rows: Positive = 1,
        frames: Positive = 3,
        length_s: Seconds = 5.0,
        monotonic: Literal["none", "up", "down"] = "none",
        confidence: Fraction = 0.5,
        min_score: Fraction = 0.0,
        update_every_s: Seconds = 0.0,
        ignore: tuple[tuple[Point, ...], ...] = (),
    ) -> None:
        if len(heads) not in (1, 2):
            raise OptionError(
                "heads", f"found {len(heads)}; expected the digits' head, and the panel's where there is one"
            )
        for head in heads:
            context.head("heads", head)
        self._digits = Digits(context.labels[heads[0]], min_score, ignore)
        self._head, self._panel = heads[0], heads[1] if len(heads) == 2 else None
        self._confidence = confidence
        self._rows, self._wanted, self._monotonic = rows, digits, monotonic
        self._votes = Votes(frames, round(length_s * 1e9))
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._told: tuple[str, ...] | None = None  # the number that stands

    def step(self, frame: Frame) -> Iterator[Event]:
        glyphs = self._read(frame)
        if glyphs is None:
            return
        now = Moment.of(frame)
        if self._wanted is not None and len(glyphs) != self._wanted:
            glyphs = glyphs.none()
        stable = self._votes.add(glyphs, now)
        if stable is None or stable.confidence < self._confidence:
            return
        if stable.rows == self._told:
            yield from self._ledger.update(_KEY, now, _value(stable))
        elif self._allowed(stable.rows):
            if _KEY in self._ledger:
                yield self._ledger.end(_KEY, stable.since, "replaced")
            self._told = stable.rows
            yield self._ledger.begin(_KEY, stable.since, now, _value(stable))

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._votes.clear()
        self._told = None
        return self._ledger.finish(reason, at)

    def overlay(self) -> list[Overlay]:
        return [] if self._told is None else [Overlay((), f"{self._name}: {' / '.join(self._told)}")]

    def _read(self, frame: Frame) -> Glyphs | None:
        """The digits of this frame in reading order; None where nothing new was looked at."""
        output = frame.outputs.get(self._head)
        if output is None or not output.fresh or not isinstance(output.result, Detections):
            return None
        found = self._digits(output.result, frame)
        if self._panel is None:
            return arrange(found, None, self._rows, None)
        return arrange(found, _panels(frame, self._panel), self._rows, self._votes.place)

    def _allowed(self, rows: tuple[str, ...]) -> bool:
        """Whether a monotonic counter may show this number after the one that stands."""
        before, after = None if self._told is None else _number(self._told), _number(rows)
        if self._monotonic == "none" or before is None or after is None:
            return True
        if self._monotonic == "down":
            before, after = after, before
        span = 10 ** max(len("".join(rows)), 1)
        return after >= before or (before >= 0.9 * span and after < 0.1 * span)


def _value(stable: Stable) -> dict[str, JsonValue]:
    return {
        "text": "\n".join(stable.rows),
        "number": _number(stable.rows),
        "confidence": round(stable.confidence, 4),
        "box": rounded(stable.box),
    }


def _number(rows: tuple[str, ...]) -> int | None:
    """The number in a single row of plain digits."""
    return int(rows[0]) if len(rows) == 1 and rows[0].isascii() and rows[0].isdigit() else None


def _panels(frame: Frame, head: str) -> tuple[Float32, ...]:
    """Outlines (K, 2) of the panels in image pixels; none where the head saw none."""
    output = frame.outputs.get(head)
    result = None if output is None else output.result
    if isinstance(result, Segmentation):
        return result.polygons
    if isinstance(result, Detections):
        x1, y1, x2, y2 = result.xyxy.T
        return tuple(
            np.stack([np.stack([x1, y1], 1), np.stack([x2, y1], 1), np.stack([x2, y2], 1), np.stack([x1, y2], 1)], 1)
        )
    return ()
