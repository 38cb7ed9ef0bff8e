"""What was lost and has not been told yet: the content of a gap record, a `status` message with `gap` in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from edge_app.messages import Kind
from edge_app.outbox.store import Tally


@dataclass(slots=True)
class Gap:
    """lost: how many by kind. unknown: there may be more. first, last: ids of the oldest and newest that are known."""

    lost: dict[str, int] = field(default_factory=lambda: {"event": 0, "status": 0, "result": 0})
    unknown: bool = False
    reasons: list[str] = field(default_factory=list)
    first: str | None = None
    last: str | None = None

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def add(self, reason: str, kinds: Sequence[Kind], first: str | None, last: str | None) -> None:
        """Count messages that are gone for good."""
        for kind in kinds:
            self.lost[kind] += 1
        self.first = self.first or first
        self.last = last or self.last
        self._note(reason)

    def add_unknown(self, reason: str) -> None:
        """Nobody can say how many, or whether any."""
        self.unknown = True
        self._note(reason)

    def merge(self, earlier: Gap) -> None:
        """Take in what was lost before this."""
        for kind, count in earlier.lost.items():
            self.lost[kind] += count
        self.unknown = self.unknown or earlier.unknown
        self.first, self.last = earlier.first or self.first, self.last or earlier.last
        for reason in earlier.reasons:
            self._note(reason)

    def _note(self, reason: str) -> None:
        if reason not in self.reasons:
            self.reasons.append(reason)

    def as_json(self) -> Tally:
        """Empty where nothing was lost."""
        if not self:
            return {}
        return asdict(self)

    @classmethod
    def from_json(cls, tally: Tally) -> Gap:
        """As `as_json` wrote it."""
        return cls(**tally) if tally else cls()  # type: ignore[arg-type]  # checked by the file's own integrity check
