"""MQTT 3.1.1 with QoS 1: a message counts as delivered when the broker has sent its PUBACK.

Topics: those of the dialect (dialects/) below `<prefix>/<device>`, and `…/available`, retained: `online` or, as the
last will, `offline`. Not here: the connection (_mqtt_connection.py).

A broker closes the connection when it gets a message over its size limit. After a lost connection, messages are sent
one at a time. If the connection is lost five times in a row while the same message is the only one in flight, the
message is refused.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

from edge_app.dialects import MAX_TEXT_BYTES, Conversion, Publication, is_text
from edge_app.errors import OptionError, SinkError
from edge_app.messages import Message
from edge_app.network.connection import Deadline, check_host
from edge_app.options import Positive, Range
from edge_app.options.secret import Secret
from edge_app.sinks import SinkContext
from edge_app.sinks._dialect import dialect_of
from edge_app.sinks._mqtt_commands import BYTES_PER_S, IDLE_S, IGNORE_S, CommandTopics
from edge_app.sinks._mqtt_connection import Connection, ConnectionLost, Endpoint, ReceiveLimits
from edge_app.sinks._paho import tls_context
from edge_app.sinks._retained import RetainedTopics
from edge_app.sinks._topics import check_topics

_WINDOW_BYTES = 1 << 20
_MAX_LOSSES = 5  # of the connection while one message is in flight
_BATCH_TIMEOUTS = 6  # a batch may take this many times `ack_timeout_s`


class Sink:
    """window: messages in flight. home_assistant: publish discovery, and retain each rule's last event. state: publish
    what is true now as retained topics; with another dialect, there are none. commands: accept commands.

    keepalive_s: after a power cut, the broker reports the device as offline within 1.5 times this; null: 10 with
    home_assistant, else 30. With home_assistant, the device confirms the connection twice as often: Mosquitto looks for
    lost devices only every six seconds.
    dialect: the system whose topics and payloads are published. prefix: their first levels; null: the dialect's.
    ack_timeout_s: for connecting, and for each acknowledgment. A batch may take six times as long.
    """

    batch_limit = 200

    def __init__(
        self,
        context: SinkContext,
        *,
        host: str,
        port: Annotated[int, Range(1, 65535)] | None = None,
        prefix: str | None = None,
        dialect: str = "edge-app",
        username: str | None = None,
        password: Secret | None = None,
        tls: bool = False,
        ca: Path | None = None,
        cert: Path | None = None,
        key: Path | None = None,
        window: Positive = 100,
        ack_timeout_s: Annotated[float, Range(0.1, 300)] = 10.0,
        keepalive_s: Annotated[int, Range(5, 3600)] | None = None,
        state: bool = True,
        commands: bool = False,
        home_assistant: bool = False,
        discovery_prefix: str = "homeassistant",
    ) -> None:
        import paho.mqtt.client as paho  # here: `edge-app check` works without the library

        check_host("host", host)
        self._dialect = dialect_of(dialect, context)
        prefix = self._dialect.prefix if prefix is None else prefix
        check_topics(context, prefix=prefix, discovery_prefix=discovery_prefix)
        self._base = f"{prefix}/{context.device_id}" if self._dialect.per_device else prefix
        self._conversion = Conversion(self._dialect)
        _check_login(username, password)
        if home_assistant and dialect != "edge-app":
            raise OptionError("home_assistant", f"found it with dialect: {dialect}; expected dialect: edge-app")
        self._window, self._ack_timeout_s = window, ack_timeout_s
        self._retains_events = home_assistant
        self._commands = CommandTopics(context, self._base, self._dialect, enabled=commands)
        self.idle_s = IDLE_S if commands else 1.0
        topics = self._commands.subscriptions + ([f"{discovery_prefix}/status"] if home_assistant else [])
        endpoint = Endpoint(
            address=(host, port or (8883 if tls else 1883)),
            tls=tls_context(tls, ca, cert, key),
            login=(username, password),
            client_id=f"edge-app-{context.device_id}-{context.name}",
            keepalive_s=max(2, (keepalive_s or 10) // 2) if home_assistant else keepalive_s or 30,
            ack_timeout_s=ack_timeout_s,
            will=f"{self._base}/available",
            subscriptions=topics,
            limits=ReceiveLimits(BYTES_PER_S, IGNORE_S) if commands else ReceiveLimits(),
        )
        self._connection = Connection(
            paho, endpoint, context.clock, on_delivered=self._record_delivery, on_message=self._receive
        )
        discovery, state = discovery_prefix if home_assistant else None, state and dialect == "edge-app"
        self._retained = RetainedTopics(
            context, self._connection, self._base, discovery, state=state, commands=commands
        )
        self._announce = False
        self._acked: set[str] = set()
        self._suspect: str | None = None  # id of the first message in flight when the connection was lost
        self._losses = 0  # in a row, with that message

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError (retry) if the broker is unreachable, refuses the login or acknowledges nothing in time.

        Without retry if a topic is not allowed or the broker closes the connection whenever it gets the first message.
        """
        converted = [self._conversion.of(message) for message in batch]
        first = batch[0]
        if first.id == self._suspect and self._losses >= _MAX_LOSSES:
            size, times = f"{len(first.payload)} bytes", f"{_MAX_LOSSES} times"
            where = self._connection.where
            raise SinkError(f"{where}: the broker closed the connection {times} on a message of {size}", retry=False)
        self._connect()
        self._retained.publish(self._window)
        self._publish_answers()
        self._acked = set()
        published = 0
        window, end = 1 if self._suspect else self._window, Deadline(self._ack_timeout_s * _BATCH_TIMEOUTS)
        try:
            for message, publications in zip(batch, converted):
                published += 1
                self._publish_message(message, publications, window, end)
            while self._connection.waiting:
                self._connection.await_ack(end)
            self._suspect = None
        except SinkError as exc:
            if isinstance(exc, ConnectionLost):
                self._record_loss(batch[:published])
            if not self._acked:
                raise
        return self._acked

    def idle(self) -> None:
        self._connect()
        self._connection.poll(0)
        if self._announce and not self._connection.waiting:  # not more often than the broker acknowledges
            self._publish_state()
        self._publish_answers()
        self._retained.publish(self._window)

    def close(self) -> None:
        if self._connection.is_open:
            with suppress(SinkError):
                self._publish_answers()  # to `restart`
        self._retained.close()
        self._connection.close()

    def _publish_message(
        self, message: Message, publications: Sequence[Publication], window: int, end: Deadline
    ) -> None:
        """Publish what a message is in the dialect. Without publications it is delivered."""
        if not publications:
            self._record_delivery(message.id)
        connection = self._connection
        connection.expect(message.id, len(publications))
        for each in publications:
            while connection.waiting >= window or connection.waiting_bytes > _WINDOW_BYTES:
                connection.await_ack(end)
            retain = each.retain or (self._retains_events and message.kind == "event")
            connection.publish(f"{self._base}/{each.topic}", each.payload, message.id, retain=retain)

    def _record_delivery(self, id_: str) -> None:
        self._acked.add(id_)
        self._conversion.forget(id_)

    def _record_loss(self, published: Sequence[Message]) -> None:
        """Record the first message that was in flight when the connection was lost."""
        suspect = next((message.id for message in published if message.id not in self._acked), None)
        if suspect is not None:
            self._losses = self._losses + 1 if suspect == self._suspect else 1
            self._suspect = suspect

    def _connect(self) -> None:
        if self._connection.open():
            self._publish_state()
            self._retained.restart()

    def _receive(self, message: Any) -> None:
        if self._dialect.commands:  # the answer: the state
            self._announce = True
        self._commands.receive(message)
        self._retained.receive(message.topic, message.payload)

    def _publish_answers(self) -> None:
        self._commands.publish(lambda topic, payload: self._connection.publish(topic, payload, None, retain=False))

    def _publish_state(self) -> None:
        """What a receiver needs to know now, in the dialect."""
        self._announce = False
        for each in self._dialect.state():
            self._connection.publish(f"{self._base}/{each.topic}", each.payload, None, retain=each.retain)


def _check_login(username: str | None, password: Secret | None) -> None:
    """Raises ConfigError if they cannot be sent. The password is read again for each connection: it may be replaced."""
    if username is not None and not is_text(username):
        raise OptionError("username", f"expected at most {MAX_TEXT_BYTES} bytes without control characters")
    if password is not None:
        password.read()
