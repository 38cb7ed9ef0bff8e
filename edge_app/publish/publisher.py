"""Fan-out: what of a frame is published, and to whom.

`run` publishes through the durable outbox, with one cursor and one worker a sink; `replay` sends at once, in order.
Not here: how messages look (messages.py), what is kept (outbox/), how a destination is spoken to (sinks/).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from edge_app import registry
from edge_app.backoff import UPSTREAM, Backoff
from edge_app.clock import Clock
from edge_app.config import Config, PluginConfig
from edge_app.errors import ConfigError, SinkError
from edge_app.frame import Event, Frame, HeadOutput, JsonValue
from edge_app.messages import Encoder, Kind, Labels, Message, Stamp
from edge_app.outbox import Outbox
from edge_app.outbox.store import Tally
from edge_app.publish import changes
from edge_app.publish.delivery import Delivery
from edge_app.sinks import Sink, SinkContext

_SYNCED_FOR_NS = 1_000_000_000  # asking the kernel costs as much as handing the message over

_OVERDUE_S = 30.0  # a slow card may take seconds for a commit


@dataclass(frozen=True, slots=True)
class SinkStats:
    """One sink. queued: accepted and not delivered yet. failed: attempts. refused: messages it will never take."""

    name: str
    sent: int
    queued: int = 0
    failed: int = 0
    refused: int = 0
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class PublishStats:
    """Messages so far. unchanged: results that were thinned out. lost: accepted, then given up for want of room.

    stored: on disk now. problem: why the disk is not used now, or None.
    """

    results: int
    events: int
    statuses: int
    unchanged: int
    lost: int
    stored: int
    problem: str | None
    sinks: tuple[SinkStats, ...]


class Publisher:
    """Takes what the pipeline has to say; never waits for a disk or a network where `durable`.

    durable False: no file, no thread; every frame's results, numbered from 0, go out before `publish_frame` returns.
    Raises ConfigError or SinkError where a sink cannot be built, and BrokenPipeError (later, too) where standard output
    is a sink and its reader has gone.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        device_id: str,
        labels: Labels,
        *,
        durable: bool,
        backoff: Backoff | None = None,
    ) -> None:
        self._clock = clock
        self._every = config.publish.results if durable else "all"
        self._encoder = Encoder(device_id, clock.boot_id, labels)
        self._published: Mapping[str, HeadOutput] | None = None
        self._next_result_ns = 0
        self._synced, self._synced_at_ns = clock.synced(), 0
        self._counts: dict[Kind, int] = {"result": 0, "event": 0, "status": 0}
        self._unchanged = 0
        self._deliveries: list[Delivery] = []
        self._outbox: Outbox | None = None
        with ExitStack() as stack:
            self.sinks = build_sinks(config, clock, device_id, stack)
            if durable and self.sinks:
                self._outbox = Outbox(
                    config.device.state_dir, list(self.sinks), config.outbox, clock, self._describe_gap
                )
                stack.pop_all()  # from here on each worker closes its sink
                self._start(backoff or UPSTREAM)
            self._direct = stack.pop_all()

    def publish_frame(self, frame: Frame) -> None:
        """Publish a frame's results, as configured, then its events, all of them."""
        if abs(frame.captured_ns - self._synced_at_ns) > _SYNCED_FOR_NS:
            self._synced, self._synced_at_ns = self._clock.synced(), frame.captured_ns
        synced = self._synced
        if self._is_due(frame):
            self._put("result", lambda seq: self._encoder.result(seq, frame, clock_synced=synced))
        self.publish_events(frame.events, Stamp(frame.captured_ns, frame.utc_ns, synced), frame.source)

    def publish_events(self, events: Iterable[Event], stamp: Stamp, source: str) -> None:
        """Publish events, in their order. stamp: when what they tell of was noticed."""
        for event in events:
            self._put("event", partial(self._encoder.event, event=event, stamp=stamp, source=source))

    def publish_status(self, stamp: Stamp, state: Mapping[str, JsonValue]) -> None:
        """Publish a heartbeat."""
        self._put("status", lambda seq: self._encoder.status(seq, stamp, state))

    def stats(self) -> PublishStats:
        total = sum(self._counts.values())
        if self._outbox is None:
            lost, stored, problem = 0, 0, None
            sinks = tuple(SinkStats(name, total) for name in self.sinks)
        else:
            box = self._outbox.stats()
            lost, stored, problem = box.lost, box.stored, box.problem
            sinks = tuple(
                SinkStats(d.name, d.sent, box.queued[d.name], d.failed, d.refused, d.last_error)
                for d in self._deliveries
            )
        counts = self._counts
        return PublishStats(
            counts["result"], counts["event"], counts["status"], self._unchanged, lost, stored, problem, sinks
        )

    def stuck(self) -> str | None:
        """What has made no progress for too long, or None: a refusing disk or a sink that is away is no such thing."""
        overdue_s = 0.0 if self._outbox is None else self._outbox.stats().overdue_s
        return f"outbox: nothing committed for {overdue_s:.0f} s" if overdue_s > _OVERDUE_S else None

    def close(self, drain_s: float = 3.0) -> None:
        """Deliver what can be delivered in `drain_s`, keep the rest, release everything. Safe to call twice."""
        self._direct.close()
        if self._outbox is None:
            return
        for delivery in self._deliveries:
            delivery.stop()
        self._outbox.drain()
        end_ns = time.monotonic_ns() + round(drain_s * 1e9)
        for delivery in self._deliveries:
            delivery.join(max(0, end_ns - time.monotonic_ns()) / 1e9)
        self._outbox.close()

    def _start(self, backoff: Backoff) -> None:
        assert self._outbox is not None
        for name, sink in self.sinks.items():
            delivery = Delivery(name, sink, self._outbox, self._clock, backoff=backoff, rng=random.Random())
            self._deliveries.append(delivery)
            delivery.start()

    def _is_due(self, frame: Frame) -> bool:
        """Whether a frame's results are to be published, by `publish.results`."""
        heads = frame.outputs
        if self._every == "none":
            return False
        if self._every == "on_change":
            due = self._published is None or changes.differ(self._published, heads)
        elif self._every == "all":
            due = True
        else:
            due = frame.captured_ns >= self._next_result_ns
            if due:
                self._next_result_ns = frame.captured_ns + round(self._every * 1e9)
        if due:
            self._published = heads
        else:
            self._unchanged += 1
        return due

    def _put(self, kind: Kind, make: Callable[[int], Message]) -> None:
        if self._outbox is not None:
            if any(delivery.broken_pipe for delivery in self._deliveries):
                raise BrokenPipeError
            self._outbox.put(make)
        elif self.sinks:
            message = make(sum(self._counts.values()))
            for name, sink in self.sinks.items():
                if message.id not in sink.send([message]):
                    raise SinkError(f"sink '{name}' did not take {message.id}", retry=True)
        self._counts[kind] += 1

    def _describe_gap(self, number: int, tally: Tally) -> Message:
        stamp = Stamp(self._clock.monotonic_ns(), self._clock.utc_ns(), self._clock.synced())
        return self._encoder.status(number, stamp, {"gap": tally})


def build_sinks(config: Config, clock: Clock, device_id: str, stack: ExitStack) -> dict[str, Sink]:
    """Construct the configured sinks, to be closed by `stack`. Raises ConfigError or SinkError with file:line."""
    heads = {name: head.family for name, head in config.manifest.heads.items()}
    rules = {rule.name: rule.type for rule in config.rules}
    sinks: dict[str, Sink] = {}
    for plugin in config.sinks:
        name = plugin.name or plugin.type
        context = SinkContext(device_id, name, clock, rules, heads)
        sinks[name] = _build(plugin, context)
        stack.callback(sinks[name].close)
    return sinks


def _build(plugin: PluginConfig, context: SinkContext) -> Sink:
    where = f"{plugin.where}: " if plugin.where else ""
    try:
        sink: Sink = registry.build("sinks", plugin.type, context, **plugin.options)
    except ConfigError as exc:
        raise ConfigError(*(f"{where}sink '{context.name}': {problem}" for problem in exc.problems)) from exc
    except SinkError as exc:
        raise SinkError(f"{where}sink '{context.name}': {exc}", retry=exc.retry) from exc
    return sink
