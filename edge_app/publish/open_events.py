"""Events that were open when the process died: the next one publishes their `end`, with the reason `restarted`.

Exactly once: each `end` is in the log before the outbox accepts it, so that the next start repeats the same message,
with the same id, or makes the first one. Not here: the log (outbox/event_log.py).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from edge_app.clock import Clock
from edge_app.messages import Message, decode, rfc3339, utc_of
from edge_app.outbox import Outbox
from edge_app.outbox.event_log import EventLog, OpenEvent

_STEP_NS = 100_000_000


def end_left_open(log: EventLog, outbox: Outbox, clock: Clock) -> int:
    """End the events that an earlier process left. Returns how many of them it had not ended itself.

    A message that may not have been accepted is sent again, with the same id. The outbox must not have accepted
    anything else: those messages are older.
    """
    found = list(log.found.values())
    unsettled = [decode(message) for message in log.unsettled]
    stored = outbox.stored_ids([message.id for message in unsettled])
    for message in unsettled:
        if message.id in stored:
            log.settle(message)
        else:
            outbox.put(partial(_same, message))
    left = [event for event in found if not event.end]
    last = _last_known(found)
    for event in left:
        body = json.loads(event.new)
        outbox.put(lambda number, body=body: log.record(_ended(body, number, clock, last)))  # type: ignore[misc]
    return len(left)


def _same(message: Message, number: int) -> Message:  # noqa: ARG001  (it has its number already)
    return message


def _last_known(events: Iterable[OpenEvent]) -> dict[str, dict[str, Any]]:
    """By boot id, the latest message in the log: the process ran until then, or longer."""
    bodies = [json.loads(payload) for event in events for payload in (event.new, event.end) if payload]
    return {body["boot_id"]: body for body in sorted(bodies, key=lambda body: body["monotonic_ns"])}


def _ended(new: Mapping[str, Any], number: int, clock: Clock, last: Mapping[str, Mapping[str, Any]]) -> Message:
    """The `end` of an event. In the same boot, it ended now; after a reboot, when the device was last known to run."""
    start_ns = utc_of(new["start"])
    if new["boot_id"] == clock.boot_id:
        monotonic_ns, utc_ns, synced = clock.monotonic_ns(), clock.utc_ns(), clock.synced()
        step_ns = (utc_ns - utc_of(new["utc"])) - (monotonic_ns - new["monotonic_ns"])
        if abs(step_ns) >= _STEP_NS:
            start_ns = min(max(start_ns + step_ns, 0), utc_ns)
    else:
        known = last[new["boot_id"]]
        monotonic_ns, utc_ns, synced = known["monotonic_ns"], utc_of(known["utc"]), known["clock_synced"]
    body = {
        **new,
        "id": f"{new['device']}-{number}",
        "seq": number,
        "utc": rfc3339(utc_ns),
        "monotonic_ns": monotonic_ns,
        "clock_synced": synced,
        "type": "end",
        "start": rfc3339(start_ns),
        "end": rfc3339(max(utc_ns, start_ns)),
        "value": {**new["value"], "reason": "restarted"},
    }
    return decode(json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode())
