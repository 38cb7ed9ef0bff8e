"""Publishes what belongs to no frame: events of the runtime, heartbeats and other statuses, under the camera's name.

Not here: the results and events of a frame (publish/publisher.py), the content of a heartbeat (health.py).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.frame import Event, Frame, JsonValue
from edge_app.messages import Stamp
from edge_app.publish.publisher import Publisher
from edge_app.rules import Moment

_RECENT_EVENTS = 200


class Reporter:
    """publisher: the present one. recent_events: also those of frames. last_frame_ns: None before the first frame."""

    def __init__(self, clock: Clock, *, replay: bool) -> None:
        self._clock, self._replay = clock, replay
        self.recent_events: deque[Event] = deque(maxlen=_RECENT_EVENTS)
        self.last_frame_ns: int | None = None
        self._last_utc_ns = 0
        self._next_status_ns = 0

    def record(self, frame: Frame) -> None:
        """A frame and its events are published."""
        self.recent_events.extend(frame.events)
        self.last_frame_ns, self._last_utc_ns = frame.captured_ns, frame.utc_ns

    def now(self) -> Moment:
        return Moment(self._clock.monotonic_ns(), self._clock.utc_ns())

    def events(self, publisher: Publisher, events: Iterable[Event], camera: str) -> None:
        """Publish events that do not belong to a frame."""
        events = list(events)
        if not events:
            return
        self.recent_events.extend(events)
        # The clock of a replay does not move between frames.
        at = Moment(self.last_frame_ns or 0, self._last_utc_ns) if self._replay else self.now()
        publisher.publish_events(events, Stamp(at.ns, at.utc_ns, self._clock.synced()), camera)

    def heartbeat_due(self, config: Config, now_ns: int) -> bool:
        """Whether a heartbeat is due; it then counts as sent. Never in a replay."""
        every_ns = round(config.publish.status_every_s * 1e9)
        if self._replay or not every_ns or now_ns < self._next_status_ns:
            return False
        self._next_status_ns = now_ns + every_ns
        return True

    def status(self, publisher: Publisher, fields: Mapping[str, JsonValue], at: Moment | None, camera: str) -> None:
        """Publish a status message with these fields. at: its time; None: now."""
        at = at or self.now()
        publisher.publish_status(Stamp(at.ns, at.utc_ns, self._clock.synced()), fields, camera)
