"""reading: the number on a panel, by a majority vote over time; an event for every new number."""

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
    """One event for each number: `new` when it is stable, `end` when another number replaces it.

    heads: the head of the digits and, optionally, the head of the panel. digits: the number of digits; if not given,
    the usual number is learned. rows: the number of lines, read from top to bottom. frames: how many must agree on each
    digit. confidence: the least confidence of a number. length_s: how long a reading with an unusual layout must last
    (another number of digits, a gap, digits that extend over the panel, another place). A hand in front of the panel is
    not a new number, nor is the number that appears after it. monotonic: `up` ignores lower numbers, except for the
    rollover from nines to zeros; `down` ignores higher ones.
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
                "heads", f"found {len(heads)}; expected the head of the digits and, optionally, the head of the panel"
            )
        for head in heads:
            context.head("heads", head)
        self._digits = Digits(context.labels[heads[0]], min_score, ignore)
        self._head, self._panel = heads[0], heads[1] if len(heads) == 2 else None
        self._confidence = confidence
        self._rows, self._digit_count, self._monotonic = rows, digits, monotonic
        self._votes = Votes(frames, round(length_s * 1e9))
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._published: tuple[str, ...] | None = None  # the current number

    def step(self, frame: Frame) -> Iterator[Event]:
        glyphs = self._read(frame)
        if glyphs is None:
            return
        now = Moment.of(frame)
        if self._digit_count is not None and len(glyphs) != self._digit_count:
            glyphs = glyphs.none()
        stable = self._votes.add(glyphs, now)
        if stable is None or stable.confidence < self._confidence:
            return
        if stable.rows == self._published:
            yield from self._ledger.update(_KEY, now, _value(stable))
        elif self._allowed(stable.rows):
            if _KEY in self._ledger:
                yield self._ledger.end(_KEY, stable.since, "replaced")
            self._published = stable.rows
            yield self._ledger.begin(_KEY, stable.since, now, _value(stable))

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._votes.clear()
        self._published = None
        return self._ledger.finish(reason, at)

    def state(self) -> dict[str, JsonValue]:
        rows = self._published
        return {"text": None if rows is None else "\n".join(rows), "number": None if rows is None else _number(rows)}

    def overlay(self) -> list[Overlay]:
        return [] if self._published is None else [Overlay((), f"{self._name}: {' / '.join(self._published)}")]

    def _read(self, frame: Frame) -> Glyphs | None:
        """The digits of this frame in reading order; None if the head has no new result."""
        output = frame.outputs.get(self._head)
        if output is None or not output.fresh or not isinstance(output.result, Detections):
            return None
        digits = self._digits.extract(output.result, frame)
        if self._panel is None:
            return arrange(digits, None, self._rows, None)
        return arrange(digits, _panels(frame, self._panel), self._rows, self._votes.last_box)

    def _allowed(self, rows: tuple[str, ...]) -> bool:
        """Whether a monotonic counter may show this number after the current one."""
        before, after = None if self._published is None else _number(self._published), _number(rows)
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
    """The value of a single row of plain digits, else None."""
    return int(rows[0]) if len(rows) == 1 and rows[0].isascii() and rows[0].isdigit() else None


def _panels(frame: Frame, head: str) -> tuple[Float32, ...]:
    """Outlines (K, 2) of the detected panels, image pixels."""
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
