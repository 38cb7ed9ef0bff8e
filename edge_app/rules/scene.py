"""scene: camera faults (dark, blurred, covered, …), debounced, from a head that classifies the whole image."""

from __future__ import annotations

from collections.abc import Iterator

from edge_app.errors import OptionError
from edge_app.frame import Classification, Event, Frame, JsonValue
from edge_app.options import Fraction, Seconds
from edge_app.options.document import nearest
from edge_app.rules import Moment, Overlay, RuleContext
from edge_app.rules._ledger import Ledger


class Rule:
    """An event while the image is in a state other than `ok`; one state at a time.

    A state begins when it has been the best class, with a score of at least `min_score`, for `after_s` and in at least
    two results, so that a single frame is not a fault. It ends after `clear_s` of `ok`.
    """

    def __init__(
        self,
        context: RuleContext,
        *,
        head: str,
        ok: str = "ok",
        after_s: Seconds = 0.5,
        clear_s: Seconds = 0.5,
        min_score: Fraction = 0.5,
        update_every_s: Seconds = 60.0,
    ) -> None:
        self._labels = context.head("head", head)
        if ok not in self._labels:
            raise OptionError("ok", f"the head '{head}' has no class '{ok}'{nearest(ok, self._labels)}")
        self._head, self._ok, self._min_score = head, ok, min_score
        self._after_ns, self._clear_ns = round(after_s * 1e9), round(clear_s * 1e9)
        self._ledger = Ledger(context, update_every_s)
        self._name = context.name
        self._state = ok  # debounced
        self._label, self._since, self._results = (
            ok,
            Moment(0, 0),
            0,
        )  # latest label, since, results in a row
        self._best_score = 0.0  # of these results

    def step(self, frame: Frame) -> Iterator[Event]:
        output = frame.outputs.get(self._head)
        if output is None or not output.fresh or not isinstance(output.result, Classification):
            return
        result = output.result
        if not len(result.score) or result.score[0] < self._min_score:
            return
        now = Moment.of(frame)
        label, score = self._labels[int(result.class_id[0])], float(result.score[0])
        if label != self._label or now.ns < self._since.ns:
            self._label, self._since, self._results, self._best_score = label, now, 0, 0.0
        self._results += 1
        self._best_score = max(self._best_score, score)
        needed_ns = self._clear_ns if label == self._ok else self._after_ns
        if label == self._state:
            if self._state in self._ledger:
                yield from self._ledger.update(self._state, now, self._value())
        elif self._results >= 2 and now.ns - self._since.ns >= needed_ns:
            yield from self._change(label, now)

    def finish(self, reason: str, at: Moment) -> list[Event]:
        self._state, self._label, self._results = self._ok, self._ok, 0
        return self._ledger.finish(reason, at)

    def state(self) -> dict[str, JsonValue]:
        return {"state": self._state, "problem": self._state != self._ok}

    def overlay(self) -> list[Overlay]:
        fault = self._state != self._ok
        return [Overlay((), f"{self._name}: {self._state}", alert=True)] if fault else []

    def _change(self, label: str, now: Moment) -> Iterator[Event]:
        if self._state in self._ledger:
            yield self._ledger.end(self._state, self._since, "cleared" if label == self._ok else "changed")
        self._state = label
        if label != self._ok:
            yield self._ledger.begin(label, self._since, now, self._value())

    def _value(self) -> dict[str, JsonValue]:
        return {"state": self._label, "score": round(self._best_score, 4)}
