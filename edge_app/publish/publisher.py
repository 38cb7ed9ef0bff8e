"""Publish the results of a frame (as configured), its events, and statuses.

Not here: the format of messages (messages.py), how they reach the sinks (upstream.py, transport.py).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial

from edge_app.backoff import UPSTREAM, Backoff
from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.frame import Event, Frame, JsonValue
from edge_app.messages import Encoder, Kind, Labels, Message, Stamp
from edge_app.outbox import event_log
from edge_app.publish.result_filter import ResultFilter
from edge_app.publish.transport import Handover, SinkStats
from edge_app.publish.upstream import Upstream
from edge_app.sinks import Sink
from edge_app.state import StateBoard
from edge_app.totals import Totals

_CHECK_SYNC_NS = 1_000_000_000  # asking the kernel costs as much as encoding a small message


@dataclass(frozen=True, slots=True)
class PublishStats:
    """Messages so far. unchanged: results not published, by `publish.results`. lost: accepted, then dropped.

    stored: messages on disk. problem: why the disk cannot be used now, or None. by_rule: events by rule and type.
    """

    results: int
    events: int
    statuses: int
    unchanged: int
    lost: int
    stored: int
    problem: str | None
    sinks: tuple[SinkStats, ...]
    by_rule: Mapping[tuple[str, str], int]


class Publisher:
    """Publishes to all configured sinks. Raises ConfigError or SinkError if a sink cannot be built.

    durable: through the outbox; no call waits for a disk or a network. If False: directly and in order, the results of
    every frame, without files and threads; calls raise SinkError if a sink fails. Any call raises BrokenPipeError once
    the reader of a pipe that is a sink has closed it. previous: what the publisher of the old configuration left.
    board: the state that sinks publish. upstream: returns the sinks and the outbox that several cameras share; without,
    the publisher opens its own.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        device_id: str,
        labels: Labels,
        *,
        durable: bool,
        backoff: Backoff = UPSTREAM,
        previous: Handover | None = None,
        board: StateBoard | None = None,
        upstream: Callable[[], Upstream] | None = None,
    ) -> None:
        self._clock = clock
        self._source = config.source.common.name
        self._encoder = Encoder(device_id, clock.boot_id, labels)
        self._filter = ResultFilter(config.publish.results if durable else "all")
        self._synced, self._sync_checked_ns = clock.synced(), 0
        self._counts: dict[Kind, int] = {"result": 0, "event": 0, "status": 0}
        self._by_rule: Counter[tuple[str, str]] = Counter()
        boards = {} if board is None else {self._source: board}
        self._is_shared = upstream is not None
        if upstream is None:
            own = Upstream(config, clock, device_id, durable=durable, boards=boards, backoff=backoff, previous=previous)
            upstream = partial(_same, own)
        self._upstream = upstream
        trust, folder = config.device.trust_clock, config.device.state_dir
        self._totals = Totals(folder, self._source, clock, trust_clock=trust) if durable else None
        if board is not None:
            board.totals = self.totals

    @property
    def sinks(self) -> Mapping[str, Sink]:
        """The open sinks, by name."""
        return self._upstream().sinks

    def publish_frame(self, frame: Frame) -> None:
        """Publish a frame's results, as configured, then all its events."""
        if abs(frame.captured_ns - self._sync_checked_ns) > _CHECK_SYNC_NS:
            self._synced, self._sync_checked_ns = self._clock.synced(), frame.captured_ns
        synced = self._synced
        if self._filter.accepts(frame):
            self._put("result", lambda seq: self._encoder.result(seq, frame, clock_synced=synced))
        self.publish_events(frame.events, Stamp(frame.captured_ns, frame.utc_ns, synced), frame.source)

    def publish_events(self, events: Iterable[Event], stamp: Stamp, source: str) -> None:
        """Publish events in order. stamp: when the change was detected. source: the camera's name."""
        events = tuple(events)
        for event in events:
            make = partial(self._encoder.event, event=event, stamp=stamp, source=source)
            log = self._upstream().event_log
            if log is not None and event.type != "update":
                make = partial(_recorded, make, log)
            self._put("event", make)
            self._by_rule[event.rule, event.type] += 1
        if self._totals is not None and events:
            self._totals.count(events)

    def publish_status(self, stamp: Stamp, state: Mapping[str, JsonValue], source: str) -> None:
        """Publish a heartbeat. source: the camera's name."""
        self._put("status", lambda seq: self._encoder.status(seq, stamp, state, source))

    def stats(self) -> PublishStats:
        counts, transport = self._counts, self._upstream().transport.stats()
        return PublishStats(
            counts["result"],
            counts["event"],
            counts["status"],
            self._filter.unchanged,
            transport.lost,
            transport.stored,
            transport.problem,
            transport.sinks,
            dict(self._by_rule),
        )

    def totals(self) -> dict[str, JsonValue]:
        """The field `totals` of a status; {} if nothing has been counted."""
        return {} if self._totals is None else self._totals.status()

    def stuck(self) -> str | None:
        """The component without progress for too long, or None. A full disk or an unreachable sink does not count."""
        return self._upstream().transport.stuck()

    def close(self, drain_s: float = 3.0) -> None:
        """Deliver for at most `drain_s`, keep the rest on disk, release everything. Safe to call twice."""
        if not self._is_shared:
            self._upstream().close(drain_s)
        if self._totals is not None:
            self._totals.close()

    def hand_over(self, drain_s: float) -> Handover | None:
        """Deliver for at most `drain_s`, release the sinks, and leave the open outbox to the next publisher.

        None if there is no outbox, or if it is shared. Until the next publisher is built, this one still stores
        messages.
        """
        handover = None if self._is_shared else self._upstream().hand_over(drain_s)
        if self._totals is not None:
            self._totals.close()
        return handover

    def _put(self, kind: Kind, make: Callable[[int], Message]) -> None:
        self._upstream().put(make)
        self._counts[kind] += 1


def _same(upstream: Upstream) -> Upstream:
    return upstream


def _recorded(make: Callable[[int], Message], log: event_log.EventLog, number: int) -> Message:
    """A `new` or `end` message that is in the log before the outbox accepts it."""
    return log.record(make(number))
