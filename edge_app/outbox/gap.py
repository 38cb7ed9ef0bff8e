"""Lost messages that have not been reported: the content of a gap record, a `status` message with `gap`."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import cast

from edge_app.messages import Kind, Message, decode
from edge_app.outbox.pending import KINDS
from edge_app.outbox.store import GapRecord, Row

_REPORT_EVERY_NS = 60_000_000_000
_MAX_REASONS = 16


@dataclass(slots=True)
class Gap:
    """lost: count by kind. unknown: there may be more. first, last: the oldest and newest id, if known."""

    lost: dict[str, int] = field(default_factory=lambda: {"event": 0, "status": 0, "result": 0})
    unknown: bool = False
    reasons: list[str] = field(default_factory=list)
    first: str | None = None
    last: str | None = None

    def __bool__(self) -> bool:
        return bool(self.reasons)

    def add(self, reason: str, kinds: Sequence[Kind], first: str | None, last: str | None) -> None:
        """Count messages that are lost."""
        for kind in kinds:
            self.lost[kind] += 1
        self.first = self.first or first
        self.last = last or self.last
        self._add_reason(reason)

    def add_evicted(self, rows: Sequence[Row]) -> None:
        """Count messages that were deleted from the file because it is full."""
        self.add("outbox full", [KINDS[row.priority] for row in rows], _id_of(rows[0]), _id_of(rows[-1]))

    def add_unknown(self, reason: str) -> None:
        """Record a loss of an unknown number of messages, possibly none."""
        self.unknown = True
        self._add_reason(reason)

    def merge(self, earlier: Gap) -> None:
        """Add losses that happened before these."""
        for kind, count in earlier.lost.items():
            self.lost[kind] += count
        self.unknown = self.unknown or earlier.unknown
        self.first, self.last = earlier.first or self.first, self.last or earlier.last
        for reason in earlier.reasons:
            self._add_reason(reason)

    def _add_reason(self, reason: str) -> None:
        if reason not in self.reasons and len(self.reasons) < _MAX_REASONS:
            self.reasons.append(reason)

    def as_json(self) -> GapRecord:
        """Empty if nothing was lost."""
        return asdict(self) if self else {}

    @classmethod
    def from_json(cls, record: GapRecord) -> Gap:
        """The inverse of `as_json`. Raises ValueError if the record is not one of these."""
        if not record:
            return cls()
        lost, reasons, unknown = record.get("lost"), record.get("reasons"), record.get("unknown")
        ids = record.get("first"), record.get("last")
        if not (
            isinstance(lost, dict)
            and lost.keys() == set(KINDS)
            and isinstance(reasons, list)
            and isinstance(unknown, bool)
            and all(type(count) is int and count >= 0 for count in lost.values())
            and all(isinstance(reason, str) for reason in reasons)
            and all(id_ is None or isinstance(id_, str) for id_ in ids)
        ):
            raise ValueError("not a gap record")
        return cls(cast(dict[str, int], lost), unknown, cast(list[str], reasons), *cast(tuple[str | None, ...], ids))


class LossLog:
    """Counts lost messages, and holds the gap until it is written to disk and reported. Not thread-safe.

    total: messages lost since the start.
    """

    def __init__(self) -> None:
        self.total = 0
        self.next_report_ns = 0
        self._gap = Gap()
        self._on_disk = True  # whether the file has this gap
        self._damaged: set[int] = set()

    def __bool__(self) -> bool:
        """Whether there is something to report."""
        return bool(self._gap)

    def add_messages(self, reason: str, messages: Sequence[Message]) -> None:
        """Count messages that were not accepted or were dropped from memory."""
        self._gap.add(reason, [message.kind for message in messages], messages[0].id, messages[-1].id)
        self._on_disk = False
        self.total += len(messages)

    def add_refused(self, reason: str, message: Message) -> None:
        """Report a message that one sink refuses. Not in `total`: other sinks may receive it."""
        self._gap.add(reason, [message.kind], message.id, message.id)
        self._on_disk = False

    def add_evicted(self, rows: Sequence[Row]) -> None:
        """Count messages that were deleted from the file, in the same transaction that wrote `with_evicted`."""
        self._gap.add_evicted(rows)
        self.total += len(rows)

    def add_damaged(self, position: int) -> bool:
        """Count a message that is damaged on disk. Returns False if it was counted before."""
        if position in self._damaged:
            return False
        self._damaged.add(position)
        self.add_unknown("message damaged on disk", 1)
        return True

    def add_unknown(self, reason: str, at_least: int) -> None:
        """Record a loss of an unknown number of messages. at_least: the number that is known."""
        self._gap.add_unknown(reason)
        self._on_disk = False
        self.total += at_least

    def load(self, record: GapRecord, *, file_missing: bool) -> None:
        """Add the unreported losses that the file has. file_missing: an earlier run had a file that is gone."""
        try:
            self._gap.merge(Gap.from_json(record))
        except ValueError:
            self.add_unknown("gap record damaged on disk", 0)
        if file_missing and not self._gap:
            self._gap.add_unknown("outbox file missing")

    def add_record(self, record: GapRecord) -> None:
        """Add the unreported losses of another outbox."""
        self._gap.merge(Gap.from_json(record))
        self._on_disk = False

    def with_evicted(self, rows: Sequence[Row]) -> GapRecord:
        """The gap as it will be after these rows were deleted."""
        gap = copy.deepcopy(self._gap)
        gap.add_evicted(rows)
        return gap.as_json()

    def pop_unwritten(self) -> GapRecord | None:
        """The gap, if it is not on disk; None otherwise. It then counts as written, unless `write_failed` is called."""
        if self._on_disk:
            return None
        self._on_disk = True
        return self._gap.as_json()

    def write_failed(self) -> None:
        """Undo `pop_unwritten`."""
        self._on_disk = False

    def pop_report(self, now_ns: int) -> GapRecord:
        """The gap to report now. The next report is due in a minute."""
        record, self._gap, self._on_disk = self._gap.as_json(), Gap(), False
        self.next_report_ns = now_ns + _REPORT_EVERY_NS
        return record


def is_gap_record(message: Message) -> bool:
    """Whether a message is a gap record itself."""
    return message.kind == "status" and "gap" in json.loads(message.payload)["status"]


def _id_of(row: Row) -> str | None:
    try:
        return decode(row.payload or b"").id
    except ValueError:
        return None
