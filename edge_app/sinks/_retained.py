"""What a sink publishes besides messages: discovery, the state of the device, the image of the last event.

All of it is retained, and published again over each new connection. What earlier starts have published and does not
exist any more is removed. Not here: entities (_home_assistant_entities.py), the values (state/).
"""

from __future__ import annotations

import time

from edge_app.dialects import as_level
from edge_app.sinks import SinkContext
from edge_app.sinks._announced import AnnouncedFile
from edge_app.sinks._event_image import EventImage
from edge_app.sinks._home_assistant import Discovery
from edge_app.sinks._home_assistant_entities import safe
from edge_app.sinks._mqtt_connection import Connection
from edge_app.sinks._state_topics import StateTopics

_LOOK_EVERY_S = 1.0  # for topics that have appeared or ceased to exist


class RetainedTopics:
    """base: the first levels of the device's topics. discovery: Home Assistant's prefix, or None. state, commands: the
    options of the sink.
    """

    def __init__(
        self,
        context: SinkContext,
        connection: Connection,
        base: str,
        discovery: str | None,
        *,
        state: bool,
        commands: bool,
    ) -> None:
        self._connection = connection
        self._file = AnnouncedFile(context.surface.state_dir, safe(context.name), connection.where)
        board = context.state if state else None
        self._state = None if board is None else StateTopics(board, base, context.source)
        self._discovery: Discovery | None = None
        self._image: EventImage | None = None
        self._image_topic = f"{base}/image/{as_level(context.source)}"
        self._status_topic = f"{discovery}/status"
        self._next_look_s = 0.0
        if discovery is not None:
            self._discovery = Discovery(context, base, discovery, self._file.announcement, commands=commands)
            if context.snapshots is not None:
                self._image = EventImage(context.snapshots)

    def restart(self) -> None:
        """There is a new connection. Raises SinkError (retry), as `publish` does."""
        announced, now_s = self._file.announcement, time.monotonic()
        stale = list(announced.topics)
        old = announced.discovery
        if old and (self._discovery is None or old != self._discovery.topic):
            announced.discovery, announced.components, announced.removed = "", {}, {}
            self._publish(old, b"")
        if self._discovery is not None:
            self._discovery.announce(now_s, self._connection.local_host)
        if self._image is not None:
            self._image.restart()
            stale = [topic for topic in stale if topic != self._image_topic]
        if self._state is not None:
            self._state.restart(stale)
        else:
            for topic in stale:
                self._publish(topic, b"")
            announced.topics = []
        self._next_look_s = 0.0
        self._file.save()

    def receive(self, topic: str, payload: bytes) -> None:
        """A message of the broker: Home Assistant reports that it has started."""
        if self._discovery is not None and topic == self._status_topic and payload == b"online":
            self._discovery.repeat(time.monotonic())

    def publish(self, window: int) -> None:
        """Publish what is due, if less than `window` publications wait for an acknowledgment."""
        now_s = time.monotonic()
        if self._state is not None and now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_EVERY_S
            self._record_topics(self._state)
        if self._connection.waiting >= window:
            return
        if self._discovery is not None and (payload := self._discovery.next(now_s)) is not None:
            self._publish(self._discovery.topic, payload)
            self._file.save()
        if self._state is not None:
            self._state.publish(self._publish, lambda: self._connection.waiting < window)
        if self._image is not None and (jpeg := self._image.next(now_s)) is not None:
            self._publish(self._image_topic, jpeg)

    def close(self) -> None:
        """Safe to call twice."""
        if self._state is not None:
            self._state.close()

    def _record_topics(self, state: StateTopics) -> None:
        """Before they are published, so that a crash does not lose them."""
        topics = state.announced()
        if topics is None:
            return
        topics += [self._image_topic] if self._image is not None else []
        if topics != self._file.announcement.topics:
            self._file.announcement.topics = topics
            self._file.save()

    def _publish(self, topic: str, payload: bytes) -> None:
        self._connection.publish(topic, payload, None, retain=True)
