"""text: what is read on objects, such as plates, labels and codes, by a majority vote over frames; one event per text.

Not here: reading (heads/ctc.py, heads/codes.py), the number on a panel (reading.py), the vote (_votes.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edge_app.errors import OptionError
from edge_app.frame import Crops, Detections, Event, Float32, Frame, JsonValue, Text
from edge_app.geometry.boxes import iou
from edge_app.geometry.polygons import Float64
from edge_app.options import Fraction, Positive, Seconds
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._digits import Glyphs
from edge_app.rules._ledger import Ledger
from edge_app.rules._objects import rounded
from edge_app.rules._votes import Stable, Votes

_MIN_IOU = 0.2  # of a text without a track and its place in the frame before
_MAX_PLACES, _MAX_OPEN = 100, 100
_MAX_LENGTH = 1024  # characters
_SHOWN = 5  # texts in the state and in the overlay


@dataclass(slots=True, eq=False)
class _Read:
    """A text in a frame. box: (4,) image pixels. label: of the detection, "" without one."""

    text: str
    score: float
    box: Float32
    track_id: int = 0
    label: str = ""


@dataclass(slots=True, eq=False)
class _Place:
    """An object over frames. last: when it was last read. text: that its frames agree on."""

    votes: Votes
    read: _Read
    last: Moment
    text: str = ""


class Rule:
    """One event for each text: `new` when enough frames agree on it, `end` when it is no longer read.

    head: reads texts, of the whole image, of crops or in its detections. pattern: a regular expression; texts that it
    does not match as a whole are ignored. Keep it simple: nested repetitions take very long on some texts. drop:
    characters that are removed before. max_length: of a text, characters; longer ones are ignored. frames: how many
    must agree on each character. length_s: how long a text of another length must last. gone_s: a text ends when it has
    not been read so long. confidence: of a text: the mean score of its least certain character, times the share of the
    frames that agree on it.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        pattern: str = "",
        drop: str = "",
        max_length: Positive = 128,
        frames: Positive = 3,
        length_s: Seconds = 0.5,
        gone_s: Seconds = 2.0,
        confidence: Fraction = 0.5,
        min_score: Fraction = 0.0,
        update_every_s: Seconds = 0.0,
    ) -> None:
        self._labels = context.head("head", head)
        try:
            self._pattern = re.compile(pattern) if pattern else None
        except (re.error, OverflowError, RecursionError) as exc:
            raise OptionError("pattern", f"found '{pattern}': {exc}; expected a regular expression") from exc
        if max_length > _MAX_LENGTH:
            raise OptionError("max_length", f"found {max_length}; expected at most {_MAX_LENGTH}")
        self._name, self._head = context.name, head
        self._dropped = str.maketrans("", "", drop)
        self._max_length, self._min_score, self._confidence = max_length, min_score, confidence
        self._frames, self._length_ns, self._gone_ns = frames, round(length_s * 1e9), round(gone_s * 1e9)
        self._ledger = Ledger(context, update_every_s)
        self._places: list[_Place] = []
        self._seen: dict[str, Moment] = {}  # when each open text was last read

    def step(self, frame: Frame) -> Iterator[Event]:
        now = Moment.of(frame)
        read = self._read(frame)
        if read is not None:
            yield from self._vote(read, frame, now)
        yield from self._end(now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._places, self._seen = [], {}
        return self._ledger.finish(reason, at)

    def state(self) -> dict[str, JsonValue]:
        return {"texts": list(self._seen)[-_SHOWN:], "count": len(self._seen)}

    def overlay(self) -> list[Overlay]:
        shown = " / ".join(list(self._seen)[-_SHOWN:])
        return [Overlay((), f"{self._name}: {shown}")] if shown else []

    def _read(self, frame: Frame) -> list[_Read] | None:
        """The texts of a frame; None if the head has no new result."""
        output = frame.outputs.get(self._head)
        if output is None or not output.fresh:
            return None
        result = output.result
        if isinstance(result, Text):
            whole = np.array([0, 0, frame.width, frame.height], np.float32)
            return self._usable([_Read(result.text, result.score, whole)])
        if isinstance(result, Crops):
            of = frame.outputs.get(result.of)
            if of is None or not isinstance(of.result, Detections):
                return None
            crops = [(row, each) for row, each in zip(result.row, result.results) if isinstance(each, Text)]
            return self._usable([_of_row(of.result, row, text.text, text.score) for row, text in crops])
        if not isinstance(result, Detections) or result.texts is None:
            return []
        found = [_of_row(result, row, text, float(result.score[row])) for row, text in enumerate(result.texts)]
        for each, label in zip(found, result.class_id.tolist()):
            each.label = self._labels[label] if 0 <= label < len(self._labels) else ""
        return self._usable(found)

    def _usable(self, found: list[_Read]) -> list[_Read]:
        """Those that count, without the characters to drop."""
        for each in found:
            each.text = each.text[: _MAX_LENGTH + 1].translate(self._dropped)
        return [
            each
            for each in found
            if 0 < len(each.text) <= self._max_length
            and each.score >= self._min_score
            and (self._pattern is None or self._pattern.fullmatch(each.text))
        ]

    def _vote(self, read: list[_Read], frame: Frame, now: Moment) -> Iterator[Event]:
        free = [place for place in self._places if place.last != now]
        for each in read:
            place = _match(each, free)
            if place is None:
                place = _Place(Votes(self._frames, self._length_ns), each, now)
                self._places = [*self._places[-_MAX_PLACES + 1 :], place]
            else:
                free.remove(place)
            place.read, place.last = each, now
            stable = place.votes.add(_glyphs(each), now)
            if stable is not None and stable.confidence >= self._confidence and self._matches(stable):
                place.text = stable.rows[0]
                yield from self._report(place, stable, frame, now)

    def _matches(self, stable: Stable) -> bool:
        """Whether the text that was voted for, character by character, matches too."""
        return self._pattern is None or self._pattern.fullmatch(stable.rows[0]) is not None

    def _report(self, place: _Place, stable: Stable, frame: Frame, now: Moment) -> Iterator[Event]:
        text, read = place.text, place.read
        size = np.array([frame.width, frame.height] * 2)
        value: dict[str, JsonValue] = {
            "text": text,
            "confidence": round(stable.confidence, 4),
            "box": rounded((read.box / size).clip(0, 1)),
        }
        value |= {"label": read.label} if read.label else {}
        value |= {"track_id": read.track_id} if read.track_id else {}
        self._seen[text] = now
        if text in self._ledger:
            yield from self._ledger.update(text, now, value)
            return
        yield self._ledger.begin(text, stable.since, now, value)
        if len(self._seen) > _MAX_OPEN:
            oldest = min(self._seen, key=lambda each: self._seen[each].ns)
            yield self._ledger.end(oldest, self._seen.pop(oldest), "gone")

    def _end(self, now: Moment) -> Iterator[Event]:
        """End what has not been read for long. A clock that went back ends nothing."""
        self._places = [place for place in self._places if now.ns - place.last.ns <= self._gone_ns]
        for text, last in list(self._seen.items()):
            if now.ns - last.ns > self._gone_ns:
                del self._seen[text]
                yield self._ledger.end(text, last, "gone")


def _of_row(detections: Detections, row: int, text: str, score: float) -> _Read:
    track_id = 0 if detections.track_id is None else int(detections.track_id[row])
    return _Read(text, score, detections.xyxy[row], track_id)


def _match(read: _Read, places: list[_Place]) -> _Place | None:
    """The place of a text: that of its track or, without one, the place that it overlaps most."""
    if read.track_id:
        return next((place for place in places if place.read.track_id == read.track_id), None)
    untracked = [place for place in places if not place.read.track_id]
    if not untracked:
        return None
    overlap = iou(read.box[None], np.stack([place.read.box for place in untracked]))[0]
    best = int(overlap.argmax())
    return untracked[best] if overlap[best] >= _MIN_IOU else None


def _glyphs(read: _Read) -> Glyphs:
    """The characters for the vote: side by side, of one size, since only their text counts."""
    n = len(read.text)
    left = np.arange(n) / n
    boxes: Float64 = np.stack([left, np.zeros(n), left + 1 / n, np.ones(n)], axis=1)
    return Glyphs((read.text,), np.full(n, read.score), boxes, True)
