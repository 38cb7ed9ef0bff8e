"""One sink's delivery thread: reads from the outbox, sends, and retries, independently of other sinks.

Not here: how a destination is reached (sinks/), where messages are stored until then (outbox/).
"""

from __future__ import annotations

import json
import logging
import random
import time
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime, timezone
from threading import Event, Lock, Thread
from traceback import format_tb

from edge_app.backoff import Backoff
from edge_app.clock import Clock
from edge_app.errors import SinkError, foreign_text
from edge_app.messages import Message, rfc3339
from edge_app.outbox import Outbox
from edge_app.outbox.pending import Item
from edge_app.sinks import Sink

_LOG = logging.getLogger(__name__)

_IDLE_S = 1.0
_POLL_S = 0.1
_PREDECESSOR_S = 60.0  # most sinks end a request earlier
_MAX_RETRY_AFTER_S = 3600.0
_LINGER_POLL_S = 0.1
_LOG_AGAIN_S = 600.0  # the same failure, with successes between
_MAX_REASON = 300  # characters of a sink's error in logs, statuses and gap records


class Delivery:
    """Drives one sink on its own thread, which also closes it.

    predecessor: an earlier delivery to the same place whose last request has not ended. This one starts afterwards.
    sent: messages delivered. failed: attempts. refused: messages that the sink will never accept. broken_pipe: the
    reader of the output closed the pipe; the thread has ended.
    """

    def __init__(
        self,
        name: str,
        sink: Sink,
        outbox: Outbox,
        clock: Clock,
        *,
        backoff: Backoff,
        rng: random.Random,
        predecessor: Delivery | None = None,
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
        self._logged_s = -_LOG_AGAIN_S  # when the last failure was logged; time.monotonic()
        self._is_logged = False  # the present failure
        self._limit = sink.batch_limit
        self._linger_s: float = getattr(sink, "linger_s", 0.0)
        self._idle_s: float = getattr(sink, "idle_s", _IDLE_S)
        self._predecessor = predecessor
        self._stop = Event()
        self._sends_nothing_new = False
        self._disowned = False
        self._outcome = Lock()  # held while an outcome is recorded
        self._thread = Thread(target=self._run, name=f"sink {name}", daemon=True)  # a hung sink must not block the exit

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Send what can be sent without waiting, then end. Call `Outbox.stop_waiting`, then `join`."""
        self._stop.set()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def unfinished(self) -> Delivery | None:
        """The delivery, or its predecessor, whose last request has not ended. None if there is none.

        Call it after `stop` and `join`. From then on, the delivery sends nothing new.
        """
        self._sends_nothing_new = True
        predecessor = self._predecessor  # the thread sets it to None
        if predecessor is not None:
            return predecessor.unfinished()
        return self if self._thread.is_alive() else None

    def disown(self) -> None:
        """Ignore the outcome of a request that has not ended."""
        with self._outcome:
            self._disowned = True

    def _run(self) -> None:
        try:
            if self._await_predecessor():
                self._loop()
        finally:
            try:
                self._sink.close()
            except Exception as exc:  # noqa: BLE001  logged: nothing is left to do with this sink
                _LOG.error("sink '%s': cannot be closed: %s", self.name, foreign_text(exc))

    def _await_predecessor(self) -> bool:
        """Wait for the end of its last request, so that nothing is sent twice. Returns False after `stop`."""
        end_s = time.monotonic() + _PREDECESSOR_S
        predecessor = self._predecessor
        while predecessor is not None and predecessor.unfinished() is not None:
            if self._stop.is_set():
                return False
            if time.monotonic() >= end_s:
                predecessor.disown()
                break
            predecessor.join(_POLL_S)
        self._predecessor = None
        return True

    def _loop(self) -> None:
        batch: list[Item] = []
        while not self._sends_nothing_new:
            batch = batch or self._next_batch()
            if not batch and self._stop.is_set():
                return
            try:
                batch = self._send(batch)
            except BrokenPipeError:  # reported to the pipeline's thread by the next `put`
                self.broken_pipe = True
                return
            except SinkError as exc:
                reason = foreign_text(str(exc), _MAX_REASON)
                if exc.retry or not batch:
                    self._wait_to_retry(reason, exc.after_s)
                else:
                    batch = self._isolate_refused(batch, reason)
            except Exception as exc:  # noqa: BLE001  logged and counted: a bug in a sink must not end its deliveries
                reason = f"internal error: {foreign_text(exc)}"
                if reason != self.last_error:  # without the exception's own text: it may quote a secret
                    _LOG.error("sink '%s': %s\n%s", self.name, reason, "".join(format_tb(exc.__traceback__)).rstrip())
                self._wait_to_retry(reason, None)
            if self._failures and self._stop.is_set():
                return

    def _next_batch(self) -> list[Item]:
        """The next messages. If the batch is not full, it waits for more, for at most the sink's `linger_s`."""
        batch = self._outbox.next_batch(self.name, self._limit, self._idle_s)
        if not batch or self._linger_s <= 0:
            return batch
        end_s = time.monotonic() + self._linger_s
        while self._outbox.stats().queued.get(self.name, 0) < self._limit:
            left_s = end_s - time.monotonic()
            if left_s <= 0 or self._stop.wait(min(left_s, _LINGER_POLL_S)):
                break
        return self._outbox.next_batch(self.name, self._limit, 0.0) or batch

    def _send(self, batch: list[Item]) -> list[Item]:
        """Send once. Returns the messages that have not arrived."""
        if not batch:
            self._sink.idle()
            self._record_success()
            return batch
        ids = self._sink.send([corrected(item.message, self._clock) for item in batch])
        rest = self._advance_cursor(batch, ids)
        if len(rest) == len(batch):
            raise SinkError("nothing was acknowledged", retry=True)
        self._record_success()
        self._limit = min(self._sink.batch_limit, self._limit * 2)
        return rest

    def _advance_cursor(self, batch: list[Item], ids: Collection[str]) -> list[Item]:
        """Acknowledge messages up to the first that has not arrived. Returns those that have not arrived."""
        arrived = set(ids)
        rest = [item for item in batch if item.message.id not in arrived]
        through = rest[0].position - 1 if rest else batch[-1].position
        self.sent += len(batch) - len(rest)
        with self._outcome:
            if len(rest) < len(batch) and not self._disowned:
                self._outbox.acknowledge(self.name, through, len(batch) - len(rest))
        return rest

    def _isolate_refused(self, batch: list[Item], reason: str) -> list[Item]:
        """The sink refuses something in this batch: halve it until one message is left, and record that as refused."""
        if len(batch) > 1:
            self._limit = len(batch) // 2
            return batch[: self._limit]
        self.failed += 1
        self.refused += 1
        self.last_error = reason
        _LOG.warning("sink '%s' refused %s: %s", self.name, batch[0].message.id, reason)
        with self._outcome:
            if not self._disowned:
                self._outbox.record_refused(self.name, batch[0], reason)
        return []

    def _wait_to_retry(self, reason: str, after_s: float | None) -> None:
        self._failures += 1
        self.failed += 1
        again = time.monotonic() - self._logged_s >= _LOG_AGAIN_S
        if reason != self.last_error or (self._failures == 1 and again):
            _LOG.warning("sink '%s': %s; retrying", self.name, reason)
            self._logged_s, self._is_logged = time.monotonic(), True
        self.last_error = reason
        wait_s = self._backoff.wait_s(self._failures - 1, self._rng)
        if after_s is not None:
            wait_s = min(after_s, _MAX_RETRY_AFTER_S) * self._rng.uniform(1.0, 1.1)
        self._stop.wait(wait_s)

    def _record_success(self) -> None:
        if self._failures and self._is_logged:
            _LOG.warning("sink '%s': recovered", self.name)
        self._failures, self._is_logged = 0, False


def corrected(message: Message, clock: Clock) -> Message:
    """Correct the UTC of a message that was stamped before the clock was set, in this boot; adds `utc_corrected`.

    `start` and `end` of an event are shifted by the same amount.
    """
    if message.clock_synced or not clock.synced():
        return message
    body = json.loads(message.payload)
    if body["boot_id"] != clock.boot_id:
        return message  # how long ago that was is not known
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
