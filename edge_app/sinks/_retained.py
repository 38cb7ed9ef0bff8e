"""What a sink publishes besides messages: discovery, the state of the device, the image of the last event.

All of it is retained, and published again over each new connection. What earlier starts have published and does not
exist any more is removed. Not here: entities (_home_assistant_entities.py), the values (state/).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Collection

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
        boards = {each.source: each.state for each in context.each if state and each.state is not None}
        self._states = deque(StateTopics(board, base, camera) for camera, board in boards.items())
        self._discovery: Discovery | None = None
        self._images: dict[str, EventImage] = {}  # by topic
        self._status_topic = f"{discovery}/status"
        self._next_look_s = 0.0
        if discovery is not None:
            self._discovery = Discovery(context, base, discovery, self._file.announcement, commands=commands)
            for each in context.each:
                if each.snapshots is not None:
                    self._images[f"{base}/image/{as_level(each.source)}"] = EventImage(each.snapshots)

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
        for image in self._images.values():
            image.restart()
        stale = [topic for topic in stale if topic not in self._images]
        if self._states:
            self._restart_states(stale)
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
        if self._states and now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_EVERY_S
            self._record_topics()
        if self._connection.waiting >= window:
            return
        if self._discovery is not None and (payload := self._discovery.next(now_s)) is not None:
            self._publish(self._discovery.topic, payload)
            self._file.save()
        for state in self._states:
            state.publish(self._publish, lambda: self._connection.waiting < window)
        self._states.rotate(-1)  # while the broker is slow, another camera is the first the next time
        for topic, image in self._images.items():
            if (jpeg := image.next(now_s)) is not None:
                self._publish(topic, jpeg)

    def close(self) -> None:
        """Safe to call twice."""
        for state in self._states:
            state.close()

    def _restart_states(self, stale: Collection[str]) -> None:
        """Publish the state of each camera again. stale: topics of earlier starts; those of a camera are up to it."""
        left = set(stale)
        for state in self._states:
            own = {topic for topic in left if topic.startswith(state.prefix)}
            left -= own
            if state is self._states[-1]:
                own |= left  # of cameras that do not exist any more
            state.restart(sorted(own))

    def _record_topics(self) -> None:
        """Before they are published, so that a crash does not lose them."""
        announced = [state.announced() for state in self._states]
        topics = sorted(topic for each in announced if each is not None for topic in each)
        if None in announced:
            return
        topics += self._images
        if topics != self._file.announcement.topics:
            self._file.announcement.topics = topics
            self._file.save()

    def _publish(self, topic: str, payload: bytes) -> None:
        self._connection.publish(topic, payload, None, retain=True)
