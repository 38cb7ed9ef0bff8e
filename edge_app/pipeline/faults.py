"""Faults of the runtime itself, published as events of the rule `runtime`.

`value.fault` is the kind: `camera`, `backend`, `head`, `load`, `memory`, `disk`, `update` or
`overrides`.
Not here: their texts (fault_texts.py), detecting them (capture/, inference/supervisor.py, degradation.py,
disk_space.py).
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.capture import CaptureStats
from edge_app.config.rules import RUNTIME
from edge_app.errors import EndOfClip
from edge_app.frame import Event, JsonValue
from edge_app.pipeline.fault_texts import described
from edge_app.rules import Moment, RuleContext
from edge_app.rules._ledger import Ledger

_EVERY_UPDATE_S = 1e-9  # publish each update: faults are updated only if their value has changed
_LOST = ("lost", "frozen")
_INSTANT = ("update",)  # over when it is reported: the release before runs again


class Faults:
    """The open faults, by name. scope: as of a RuleContext."""

    def __init__(self, scope: str = "") -> None:
        self._ledger = Ledger(RuleContext(RUNTIME, RUNTIME, {}, scope=scope), _EVERY_UPDATE_S)
        self._values: dict[str, Mapping[str, JsonValue]] = {}

    def update(
        self, fault: str, value: Mapping[str, JsonValue] | None, now: Moment, reason: str = "recovered"
    ) -> list[Event]:
        """Set the state of a fault; None: the fault is over. Returns its events if the state has changed.

        fault: its kind; a `:` and the name of the affected part may follow, as in `head:panel`. reason: of its end.
        """
        kind = fault.partition(":")[0]
        if value is not None:
            value = described(kind, value)
            if kind in _INSTANT:
                return self._ledger.instant(now, value)
        if value == self._values.get(fault):
            return []
        if value is None:
            del self._values[fault]
            return [self._ledger.end(fault, now, reason)]
        is_new = fault not in self._values
        self._values[fault] = value
        if is_new:
            return [self._ledger.begin(fault, now, now, value)]
        return self._ledger.update(fault, now, value)

    def update_all(
        self, capture: CaptureStats, problem: str | None, failed_heads: Mapping[str, str], now: Moment
    ) -> list[Event]:
        """Set the faults `camera`, `backend` and `head`. Returns the events of those that have changed.

        problem: of the backend, or None. failed_heads: by name, the error.
        """
        camera = {"state": capture.state, "error": capture.last_error or ""} if camera_lost(capture) else None
        events = self.update("camera", camera, now)
        events += self.update("backend", None if problem is None else {"error": problem}, now)
        open_heads = {name.partition(":")[2] for name in self._values if name.startswith("head:")}
        for name in sorted(open_heads | set(failed_heads)):
            value = {"head": name, "error": failed_heads[name]} if name in failed_heads else None
            events += self.update(f"head:{name}", value, now)
        return events

    def command(self, value: Mapping[str, JsonValue], now: Moment) -> list[Event]:
        """The events of an accepted command. value: `command`, its `value`, `origin`, `id`."""
        return self._ledger.instant(now, value)

    def __bool__(self) -> bool:
        """Whether any fault is open."""
        return bool(self._values)

    def open(self) -> dict[str, Mapping[str, JsonValue]]:
        """The values of the open faults, by name."""
        return dict(self._values)

    def finish(self, reason: str, now: Moment) -> list[Event]:
        """End all open faults."""
        self._values.clear()
        return self._ledger.finish(reason, now)


def camera_lost(capture: CaptureStats) -> bool:
    """Whether the camera delivers no usable frames: it is lost or frozen."""
    return capture.state in _LOST


def end_reason(error: Exception | None) -> str:
    """Why events end when the pipeline does. error: of the source, or None."""
    return {EndOfClip: "end_of_clip", type(None): "shutdown"}.get(type(error), "source_lost")
