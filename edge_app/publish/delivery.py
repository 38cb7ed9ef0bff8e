"""One sink's worker: takes from the outbox, sends, waits as the other side needs it, and never disturbs another sink.

Not here: what a destination is (sinks/), what is kept meanwhile (outbox/).
"""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timezone
from threading import Event, Thread

from edge_app.backoff import Backoff
from edge_app.clock import Clock
from edge_app.errors import SinkError
from edge_app.messages import Message, rfc3339
from edge_app.outbox import Outbox
from edge_app.outbox.pending import Item
from edge_app.sinks import Sink

log = logging.getLogger(__name__)

_IDLE_S = 1.0
_LONGEST_ASKED_S = 3600.0  # of a Retry-After


class Delivery:
    """Drives one sink on a thread of its own; closes it there. sent, failed, refused, last_error: for status."""

    def __init__(
        self, name: str, sink: Sink, outbox: Outbox, clock: Clock, *, backoff: Backoff, rng: random.Random
    ) -> None:
        self.name = name
        self.sent = self.failed = self.refused = 0
        self.last_error: str | None = None
        self.broken_pipe = False
        self._sink = sink
        self._outbox = outbox
        self._clock = clock
        self._backoff = backoff
        self._rng = rng
        self._failures = 0  # in a row
        self._limit = sink.batch_limit
        self._stop = Event()
        self._thread = Thread(target=self._run, name=f"sink {name}", daemon=True)  # a hung one must not hold the exit

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what goes without waiting, then end. `join` after `Outbox.stop_waiting`."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._loop()
        finally:
            self._sink.close()

    def _loop(self) -> None:
        batch: list[Item] = []
        while True:
            batch = batch or self._outbox.next_batch(self.name, self._limit, _IDLE_S)
            if not batch and self._stop.is_set():
                return
            try:
                batch = self._send(batch)
            except BrokenPipeError:  # the reader of our output has gone: the pipeline's thread is told
                self.broken_pipe = True
                return
            except SinkError as exc:
                if exc.retry or not batch:
                    self._wait(str(exc), exc.after_s)
                else:
                    batch = self._narrow(batch, str(exc))
            except Exception as exc:  # a mistake in a sink must not end the delivery of everything
                log.exception("sink '%s'", self.name)
                self._wait(f"{type(exc).__name__}: {exc}", None)
            if self._failures and self._stop.is_set():
                return

    def _send(self, batch: list[Item]) -> list[Item]:
        """Send once. Returns what has not arrived yet."""
        if not batch:
            self._sink.idle()
            self._recovered()
            return batch
        ids = self._sink.send([corrected(item.message, self._clock) for item in batch])
        rest = self._settle(batch, ids)
        if len(rest) == len(batch):
            raise SinkError("nothing was acknowledged", retry=True)
        self._recovered()
        self._limit = min(self._sink.batch_limit, self._limit * 2)
        return rest

    def _settle(self, batch: list[Item], ids: Collection[str]) -> list[Item]:
        """Move the cursor to the first message that has not arrived."""
        arrived = set(ids)
        rest = [item for item in batch if item.message.id not in arrived]
        through = rest[0].position - 1 if rest else batch[-1].position
        self.sent += len(batch) - len(rest)
        if len(rest) < len(batch):
            self._outbox.acknowledge(self.name, through, len(batch) - len(rest))
        return rest

    def _narrow(self, batch: list[Item], reason: str) -> list[Item]:
        """Something in a batch will never be taken: halve it until it stands alone, then keep that one aside."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return batch[: self._limit]
        self.failed += 1
        self.refused += 1
        self.last_error = reason
        log.warning("sink '%s' refused %s: %s", self.name, batch[0].message.id, reason)
        self._outbox.record_refused(self.name, batch[0], reason)
        return []

    def _wait(self, reason: str, after_s: float | None) -> None:
        self._failures += 1
        self.failed += 1
        if self._failures == 1 or reason != self.last_error:
            log.warning("sink '%s': %s; trying again", self.name, reason)
        self.last_error = reason
        wait_s = self._backoff.wait_s(self._failures - 1, self._rng)
        if after_s is not None:
            wait_s = min(after_s, _LONGEST_ASKED_S) * self._rng.uniform(1.0, 1.1)
        self._stop.wait(wait_s)

    def _recovered(self) -> None:
        if self._failures:
            log.warning("sink '%s': works again", self.name)
        self._failures = 0


def corrected(message: Message, clock: Clock) -> Message:
    """The message with its true UTC where it was stamped before this boot's clock was set; it then says so.

    `start` and `end` of an event move by as much.
    """
    if message.clock_synced or not clock.synced():
        return message
    body = json.loads(message.payload)
    if body["boot_id"] != clock.boot_id:
        return message  # nobody knows any more how long ago that was
    utc_ns = clock.utc_ns() - (clock.monotonic_ns() - message.monotonic_ns)
    shift_ns = utc_ns - message.utc_ns
    for name in ("utc", "start", "end"):
        if isinstance(body.get(name), str):
            body[name] = rfc3339(_utc_ns(body[name]) + shift_ns)
    body.update(clock_synced=True, utc_corrected=True)
    payload = json.dumps(body, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()
    return replace(message, utc_ns=utc_ns, clock_synced=True, payload=payload)


def _utc_ns(text: str) -> int:
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return round(moment.timestamp() * 1000) * 1_000_000
