"""What goes wrong with the runtime itself, told like everything else: an event from its beginning to its end.

Such events stand under the rule `runtime`; `value.fault` says what: `camera`, `backend`, `head`, `load`, `memory`.
Not here: who notices.
"""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.config.rules import RUNTIME
from edge_app.frame import Event, JsonValue
from edge_app.rules import Moment, RuleContext
from edge_app.rules._ledger import Ledger

_ALWAYS_S = 1e-9  # every update is told: whoever notes one has something new to say


class Faults:
    """The faults that are open, by name."""

    def __init__(self) -> None:
        self._ledger = Ledger(RuleContext(RUNTIME, RUNTIME, {}), _ALWAYS_S)
        self._values: dict[str, Mapping[str, JsonValue]] = {}

    def note(self, fault: str, value: Mapping[str, JsonValue] | None, now: Moment) -> list[Event]:
        """Say how a fault stands now: None where there is none. fault: what, and behind a `:` of whom.

        Returns what is new about it: nothing where it stands as before.
        """
        if value == self._values.get(fault):
            return []
        if value is None:
            del self._values[fault]
            return [self._ledger.end(fault, now, "recovered")]
        began = fault not in self._values
        self._values[fault] = dict(value)
        told = {"fault": fault.partition(":")[0], **value}
        return [self._ledger.begin(fault, now, now, told)] if began else self._ledger.update(fault, now, told)

    def __bool__(self) -> bool:
        """Whether anything is wrong now."""
        return bool(self._values)

    def open(self) -> dict[str, Mapping[str, JsonValue]]:
        """What is wrong now: values by fault."""
        return dict(self._values)

    def finish(self, reason: str, now: Moment) -> list[Event]:
        """End all that is open."""
        self._values.clear()
        return self._ledger.finish(reason, now)
