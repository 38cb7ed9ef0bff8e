"""What all cameras of a process share for publishing: the sinks with their connections, the outbox, the event log.

Not here: what a camera publishes (publisher.py), how one sink is retried (delivery.py).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import ExitStack

from edge_app.backoff import UPSTREAM, Backoff
from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.messages import Encoder, Message, Stamp
from edge_app.outbox import Outbox, event_log
from edge_app.outbox.store import GapRecord
from edge_app.publish.build import build_sinks
from edge_app.publish.open_events import end_left_open
from edge_app.publish.transport import DirectTransport, DurableTransport, Handover, Transport
from edge_app.sinks import Sink
from edge_app.state import StateBoard

_LOG = logging.getLogger(__name__)


class Upstream:
    """The open sinks and outbox of a configuration. Raises ConfigError or SinkError if a sink cannot be built.

    durable, previous: as of a Publisher. boards: the state that sinks publish, by camera.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        device_id: str,
        *,
        durable: bool,
        boards: Mapping[str, StateBoard],
        backoff: Backoff = UPSTREAM,
        previous: Handover | None = None,
    ) -> None:
        self._clock, self._camera = clock, config.camera
        self._encoder = Encoder(device_id, clock.boot_id, {})
        self._outbox = None if previous is None else previous.outbox
        self.event_log = None if previous is None else previous.event_log
        with ExitStack() as stack:
            self.sinks: Mapping[str, Sink] = build_sinks(config, clock, device_id, stack, boards if durable else {})
            self.transport: Transport
            if durable and self.sinks:
                self._outbox = self._open_outbox(config)
                self._open_event_log(self._outbox)
                unfinished = {} if previous is None else previous.unfinished
                self.transport = DurableTransport(
                    self.sinks, self._outbox, clock, backoff=backoff, unfinished=unfinished
                )
            else:
                self.transport = DirectTransport(self.sinks)
            stack.pop_all()  # from now on, the transport closes them

    def put(self, make: Callable[[int], Message]) -> None:
        """Accept a message. make: builds it from its number. Raises BrokenPipeError as a Transport does."""
        self.transport.put(make)

    def close(self, drain_s: float) -> None:
        """Deliver for at most `drain_s`, keep the rest on disk, release everything. Safe to call twice."""
        self.transport.close(drain_s)
        if self._outbox is not None:
            self._outbox.close()
        if self.event_log is not None:
            self.event_log.close()  # after the outbox has stored the last events

    def hand_over(self, drain_s: float) -> Handover | None:
        """Deliver for at most `drain_s`, release the sinks, and leave the open outbox to the next one.

        None if there is no outbox. Until the next one is built, this one still stores messages.
        """
        self.transport.close(drain_s)
        if self._outbox is None or self.event_log is None:
            return None
        return Handover(self._outbox, self.event_log, self.transport.unfinished())

    def _open_outbox(self, config: Config) -> Outbox:
        """The outbox of the one before, or a new one. Raises ConfigError if another process uses the folder."""
        old, folder, sinks = self._outbox, config.device.state_dir, list(self.sinks)
        if old is not None and old.folder == folder:
            old.reconfigure(sinks, config.outbox, self._make_gap_record)
            return old
        new = Outbox(folder, sinks, config.outbox, self._clock, self._make_gap_record, reports_losses=False)
        if old is not None:
            old.close(successor=new)
        return new

    def _open_event_log(self, outbox: Outbox) -> None:
        """Continue with the log of the one before; or open it, and end the events that a process left."""
        path = outbox.folder / event_log.FILE
        if self.event_log is not None:
            outbox.watch(self.event_log.settle)
            outbox.start_reports()
            self.event_log.move(path)
            return
        self.event_log = event_log.EventLog(path)
        outbox.watch(self.event_log.settle)
        ended = end_left_open(self.event_log, outbox, self._clock)
        outbox.start_reports()
        if ended:
            _LOG.warning("%d events were open when the process before ended; they end now", ended)

    def _make_gap_record(self, number: int, gap: GapRecord) -> Message:
        stamp = Stamp(self._clock.monotonic_ns(), self._clock.utc_ns(), self._clock.synced())
        return self._encoder.status(number, stamp, {"gap": gap}, self._camera)
