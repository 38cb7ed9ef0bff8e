"""How published messages reach the sinks: through the durable outbox, or directly.

Not here: what is published (publisher.py), how one sink is retried (delivery.py).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from edge_app.backoff import Backoff
from edge_app.clock import Clock
from edge_app.errors import SinkError
from edge_app.messages import Message
from edge_app.outbox import Outbox
from edge_app.outbox.event_log import EventLog
from edge_app.publish.delivery import Delivery
from edge_app.sinks import Sink

_OVERDUE_S = 30.0  # a slow SD card may take seconds for one commit


@dataclass(frozen=True, slots=True)
class SinkStats:
    """One sink. queued: messages to deliver. failed: attempts. refused: messages that the sink will never accept."""

    name: str
    sent: int
    queued: int = 0
    failed: int = 0
    refused: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class TransportStats:
    """lost: messages dropped. stored: messages on disk. problem: why the disk cannot be used now, or None."""

    sinks: tuple[SinkStats, ...]
    lost: int = 0
    stored: int = 0
    problem: str | None = None


class Transport(Protocol):
    """Takes messages for all sinks. Used by the pipeline's thread."""

    def put(self, make: Callable[[int], Message]) -> None:
        """Accept a message. make: builds it from its number. Raises BrokenPipeError if a reader closed its pipe."""
        ...

    def stats(self) -> TransportStats: ...

    def stuck(self) -> str | None:
        """The component without progress for too long, or None. A full disk or an unreachable sink does not count."""
        ...

    def close(self, drain_s: float) -> None:
        """Deliver for at most `drain_s`, then release the sinks. Safe to call twice."""
        ...

    def unfinished(self) -> Mapping[str, Delivery]:
        """By sink, the deliveries whose last request has not ended. After `close`."""
        ...


class DirectTransport:
    """Sends each message to all sinks before `put` returns. Messages are numbered from 0. No file, no thread."""

    def __init__(self, sinks: Mapping[str, Sink]) -> None:
        self._sinks = sinks
        self._sent = 0

    def put(self, make: Callable[[int], Message]) -> None:
        """Raises SinkError if a sink fails or does not acknowledge the message."""
        if self._sinks:
            message = make(self._sent)
            for name, sink in self._sinks.items():
                if message.id not in sink.send([message]):
                    raise SinkError(f"sink '{name}' did not acknowledge {message.id}", retry=True)
        self._sent += 1

    def stats(self) -> TransportStats:
        return TransportStats(tuple(SinkStats(name, self._sent) for name in self._sinks))

    def stuck(self) -> str | None:
        """Never: `put` returns or raises."""
        return None

    def close(self, drain_s: float) -> None:  # noqa: ARG002  everything is delivered already
        for sink in self._sinks.values():
            sink.close()

    def unfinished(self) -> dict[str, Delivery]:
        """None: `put` returns or raises."""
        return {}


@dataclass(frozen=True, slots=True)
class Handover:
    """What a publisher leaves to the one that follows it. unfinished: deliveries whose last request has not ended."""

    outbox: Outbox
    event_log: EventLog
    unfinished: Mapping[str, Delivery]


class DurableTransport:
    """Puts messages into the outbox, from which one delivery thread for each sink sends them.

    `put` never waits for a disk or a network. unfinished: see Handover. Not here: closing the outbox.
    """

    def __init__(
        self,
        sinks: Mapping[str, Sink],
        outbox: Outbox,
        clock: Clock,
        *,
        backoff: Backoff,
        unfinished: Mapping[str, Delivery],
    ) -> None:
        self._outbox = outbox
        self._deliveries = [
            Delivery(name, sink, outbox, clock, backoff=backoff, rng=random.Random(), predecessor=unfinished.get(name))
            for name, sink in sinks.items()
        ]
        for delivery in self._deliveries:  # from now on, each thread closes its sink
            delivery.start()

    def put(self, make: Callable[[int], Message]) -> None:
        if any(delivery.broken_pipe for delivery in self._deliveries):
            raise BrokenPipeError
        self._outbox.put(make)

    def stats(self) -> TransportStats:
        outbox = self._outbox.stats()
        sinks = tuple(
            SinkStats(d.name, d.sent, outbox.queued[d.name], d.failed, d.refused, d.last_error)
            for d in self._deliveries
        )
        return TransportStats(sinks, outbox.lost, outbox.stored, outbox.problem)

    def stuck(self) -> str | None:
        overdue_s = self._outbox.stats().overdue_s
        return f"outbox: nothing committed for {overdue_s:.0f} s" if overdue_s > _OVERDUE_S else None

    def close(self, drain_s: float) -> None:
        """Undelivered messages stay in the outbox."""
        for delivery in self._deliveries:
            delivery.stop()
        self._outbox.stop_waiting()
        end_ns = time.monotonic_ns() + round(drain_s * 1e9)
        for delivery in self._deliveries:
            delivery.join(max(0, end_ns - time.monotonic_ns()) / 1e9)

    def unfinished(self) -> dict[str, Delivery]:
        """By sink, the deliveries whose last request has not ended. After `close`."""
        found = {delivery.name: delivery.unfinished() for delivery in self._deliveries}
        return {name: delivery for name, delivery in found.items() if delivery is not None}
