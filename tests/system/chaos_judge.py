"""Judge a chaos run: was every accepted message delivered to every sink, once each but for bounded repeats, in order?

A message is accepted once it is on disk: `ACCEPTED_AFTER_S` after it was made, unless the disk was full or the process
was killed before. The recorder, a `jsonl` sink on a healthy disk that acknowledges at once, shows what was made.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field

from edge_app.outbox.sequence import BLOCK

ACCEPTED_AFTER_S = {"event": 0.1, "result": 1.0, "status": 1.0}
TOLERANCE_S = 1.0  # for a busy machine
CAMERA_LAG_S = 1.0  # a frame is stamped this long before it is processed, at most; older ones are stale
DISK_RETRY_S = 12.0  # the outbox tries a failed disk again after at most 10 s


@dataclass
class Arrivals:
    """What one sink has received. order: ids, repeats included. contents: of each id, hashes."""

    order: list[str] = field(default_factory=list)
    contents: dict[str, set[str]] = field(default_factory=dict)
    gaps: dict[str, dict] = field(default_factory=dict)  # by id
    made: dict[str, tuple[str, float]] = field(default_factory=dict)  # id -> kind, monotonic s

    def add(self, payload: bytes) -> None:
        if not payload.startswith(b"{"):
            return  # the retained `online` and `offline`
        message = json.loads(payload)
        id_ = message["id"]
        self.order.append(id_)
        text = json.dumps(message, sort_keys=True).encode()
        self.contents.setdefault(id_, set()).add(hashlib.sha256(text).hexdigest())
        self.made[id_] = message["kind"], message["monotonic_ns"] / 1e9
        if gap := message.get("status", {}).get("gap"):
            self.gaps[id_] = gap


@dataclass
class History:
    """Times of CLOCK_BOOTTIME, s. starts, kills: of the daemon. flaps: of the broker, which stopped or froze.

    disk_full: from the first byte until the outbox has tried the disk again.
    """

    starts: list[float] = field(default_factory=list)
    kills: list[float] = field(default_factory=list)
    flaps: list[float] = field(default_factory=list)
    disk_full: list[tuple[float, float]] = field(default_factory=list)

    def since_first_start(self) -> dict[str, object]:
        """All times, for a report."""
        zero = self.starts[0]
        shown: dict[str, object] = {
            name: [round(at - zero, 2) for at in getattr(self, name)] for name in ("starts", "kills", "flaps")
        }
        return shown | {"disk_full": [[round(a - zero, 2), round(b - zero, 2)] for a, b in self.disk_full]}

    def accepted(self, made: dict[str, tuple[str, float]]) -> set[str]:
        def next_kill_s(at_s: float) -> float:
            return min((kill for kill in self.kills if kill > at_s), default=float("inf"))

        return {id_ for id_, (kind, at_s) in made.items() if self._due_s(kind, at_s) < next_kill_s(at_s)}

    def _due_s(self, kind: str, at_s: float) -> float:
        """When a message made at this time is on disk."""
        due_s = at_s + ACCEPTED_AFTER_S[kind] + TOLERANCE_S + CAMERA_LAG_S
        for begin, end in sorted(self.disk_full):
            if begin < due_s and end > at_s:
                due_s = max(due_s, end)
        return due_s


def number(id_: str) -> int:
    return int(id_.rpartition("-")[2])


def out_of_order(numbers: list[int]) -> list[tuple[int, int]]:
    """The numbers that come too late, each with the one before it.

    Numbers rise in a block; which block follows is random if the disk was full.
    """
    late, last, finished = [], None, set()
    for each in numbers:
        if last is not None and (each < last if each // BLOCK == last // BLOCK else each // BLOCK in finished):
            late.append((each, last))
        if last is not None and each // BLOCK != last // BLOCK:
            finished.add(last // BLOCK)
        last = each
    return late


def judge(sinks: dict[str, Arrivals], history: History, unreported: dict) -> dict:
    """Compare what arrived. unreported: the gap that is still on disk.

    Returns figures; `two_contents`, and of each sink `lost`, `beyond_gaps` and `out_of_order`, must be empty or 0.
    """
    made = {id_: about for arrivals in sinks.values() for id_, about in arrivals.made.items()}
    accepted = history.accepted(made)
    records = {id_: gap for arrivals in sinks.values() for id_, gap in arrivals.gaps.items()}
    gaps = [*records.values(), *([unreported] if unreported else [])]
    ranges = {(number(g["first"]), number(g["last"])) for g in gaps if g["first"] and g["last"]}
    unknown = any(gap["unknown"] for gap in gaps)
    named = sum(sum(gap["lost"].values()) for gap in gaps)
    reasons = {reason for gap in gaps for reason in gap["reasons"]}
    contents: dict[str, set[str]] = {}
    for arrivals in sinks.values():
        for id_, found in arrivals.contents.items():
            contents.setdefault(id_, set()).update(found)
    found = {}
    for name, arrivals in sinks.items():
        missing = accepted - set(arrivals.order)
        if any(f"refused by sink '{name}'" in reason for reason in reasons):
            missing -= set(records)  # a gap record that a sink refuses is not reported again: it would refuse that too
        unnamed = {id_ for id_ in missing if not any(a <= number(id_) <= b for a, b in ranges)}
        repeated = Counter(arrivals.order)
        found[name] = {
            "arrived": len(repeated),
            "repeats": len(arrivals.order) - len(repeated),
            "in_gaps": (in_gaps := len(missing) - len(unnamed)),
            "beyond_gaps": 0 if unknown else max(0, in_gaps - named),
            "lost": sorted(unnamed, key=number),
            "lost_at": sorted({round(made[id_][1] - history.starts[0], 1) for id_ in unnamed}),
            "out_of_order": len(late := out_of_order([number(id_) for id_ in dict.fromkeys(arrivals.order)])),
            "late": [
                {
                    id_: (kind, round(at_s - history.starts[0], 1))
                    for id_, (kind, at_s) in made.items()
                    if number(id_) in pair
                }
                for pair in late[:5]
            ],
        }
    return {
        "kills": len(history.kills),
        "flaps": len(history.flaps),
        "accepted": len(accepted),
        "not_accepted": len(made) - len(accepted),
        "gap_records": len(gaps),
        "named_in_gaps": named,
        "gap_reasons": sorted(reasons),
        "unknown_losses": unknown,
        "two_contents": [id_ for id_, hashes in contents.items() if len(hashes) > 1],
        "sinks": found,
    }
