"""MQTT 3.1.1 with QoS 1: a message counts as delivered when the broker has sent its PUBACK.

Topics: those of the dialect (dialects/) below `<prefix>/<device>`, and `…/available`, retained: `online` or, as the
last will, `offline`. paho's queue and reconnect are not used: the queue is in memory only, and the reconnect has no
jitter. Each connection has its own client, so nothing is sent that the outbox does not track.

A broker closes the connection when it gets a message over its size limit. After a lost connection, messages are sent
one at a time. If the connection is lost five times in a row while the same message is the only one in flight, the
message is refused.
"""

from __future__ import annotations

import select
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from edge_app.dialects import MAX_TEXT_BYTES, Conversion, Publication, is_text
from edge_app.errors import ConfigError, OptionError, SinkError, foreign_text
from edge_app.messages import Message
from edge_app.network.connection import Deadline, check_host, connect
from edge_app.network.tls import explain
from edge_app.options import Positive, Range
from edge_app.options.secret import Secret
from edge_app.sinks import SinkContext, _home_assistant
from edge_app.sinks._dialect import dialect_of
from edge_app.sinks._evictions import EvictionDetector
from edge_app.sinks._paho import LimitedSocket, new_client, tls_context
from edge_app.sinks._topics import check_topics

_WINDOW_BYTES = 1 << 20
_MAX_LOSSES = 5  # of the connection while one message is in flight
_BATCH_TIMEOUTS = 6  # a batch may take this many times `ack_timeout_s`
_SUBSCRIBE_AGAIN_S = 3600.0


class _ConnectionLost(SinkError):
    """The broker, or the network, closed an established connection."""


class Sink:
    """window: messages in flight. home_assistant: publish discovery, and retain each rule's last event.

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
        keepalive_s: Annotated[int, Range(5, 3600)] = 30,
        home_assistant: bool = False,
        discovery_prefix: str = "homeassistant",
    ) -> None:
        import paho.mqtt.client as paho  # here: `edge-app check` works without the library

        self._paho: Any = paho
        self._context = context
        check_host("host", host)
        self._address = (host, port or (8883 if tls else 1883))
        self._dialect = dialect_of(dialect, context)
        prefix = self._dialect.prefix if prefix is None else prefix
        check_topics(context, prefix=prefix, discovery_prefix=discovery_prefix)
        self._base = f"{prefix}/{context.device_id}" if self._dialect.per_device else prefix
        self._conversion = Conversion(self._dialect)
        if home_assistant and dialect != "edge-app":
            raise OptionError("home_assistant", f"found it with dialect: {dialect}; expected dialect: edge-app")
        self._tls = tls_context(tls, ca, cert, key)
        self._login = (username, password)
        if username is not None and not is_text(username):
            raise OptionError("username", f"expected at most {MAX_TEXT_BYTES} bytes without control characters")
        if password is not None:
            password.read()  # raises ConfigError now; read again for each connection, because it may be replaced
        self._client_id = f"edge-app-{context.device_id}-{context.name}"
        self._window = window
        self._ack_timeout_s = ack_timeout_s
        self._keepalive_s = keepalive_s
        self._discovery = discovery_prefix if home_assistant else None
        self._announce = False
        self._subscribe_at = 0.0  # not before; time.monotonic()
        self._client: Any = None
        self._socket: LimitedSocket | None = None
        self._refusal: str | None = None
        self._connected = False
        self._waiting: dict[int, tuple[str | None, int]] = {}  # by mid: message id (None: our own), bytes
        self._waiting_bytes = 0
        self._unacknowledged: dict[str, int] = {}  # by message id: its publications without an acknowledgment
        self._acked: set[str] = set()
        self._delivered = False  # a message, over this connection
        self._evictions = EvictionDetector()
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
            raise SinkError(
                f"{self._where()}: the broker closed the connection {times} on a message of {size}", retry=False
            )
        self._connect()
        self._acked = set()
        published = 0
        window, end = 1 if self._suspect else self._window, Deadline(self._ack_timeout_s * _BATCH_TIMEOUTS)
        try:
            for message, publications in zip(batch, converted):
                published += 1
                self._publish_message(message, publications, window, end)
            while self._waiting:
                self._await_ack(end)
            self._suspect = None
        except SinkError as exc:
            if isinstance(exc, _ConnectionLost):
                self._record_loss(batch[:published])
            if not self._acked:
                raise
        return self._acked

    def _publish_message(
        self, message: Message, publications: Sequence[Publication], window: int, end: Deadline
    ) -> None:
        """Publish what a message is in the dialect. Without publications it is delivered."""
        if not publications:
            self._record_delivery(message.id)
        self._unacknowledged[message.id] = len(publications)
        for each in publications:
            while len(self._waiting) >= window or self._waiting_bytes > _WINDOW_BYTES:
                self._await_ack(end)
            retain = each.retain or (self._discovery is not None and message.kind == "event")
            self._publish(each.topic, each.payload, message.id, retain=retain)

    def _record_delivery(self, id_: str) -> None:
        self._acked.add(id_)
        self._conversion.forget(id_)

    def _record_loss(self, published: Sequence[Message]) -> None:
        """Record the first message that was in flight when the connection was lost."""
        suspect = next((message.id for message in published if message.id not in self._acked), None)
        if suspect is not None:
            self._losses = self._losses + 1 if suspect == self._suspect else 1
            self._suspect = suspect

    def idle(self) -> None:
        self._connect()
        self._poll(0)
        if self._announce and not self._waiting:  # not more often than the broker acknowledges
            self._publish_state()

    def close(self) -> None:
        if self._client is not None and self._connected:
            try:
                self._publish("available", b"offline", None, retain=True)
                end = time.monotonic() + 1.0
                while self._waiting and time.monotonic() < end:
                    self._poll(0.1)
                self._client.disconnect()
            except (SinkError, OSError, ValueError):
                pass  # the last will does the same
        self._drop()

    # The connection.

    def _connect(self) -> None:
        """Connect and log in, if not connected. Raises SinkError (retry)."""
        if self._client is not None and self._connected and self._client.socket() is not None:
            return
        self._drop()
        deadline = Deadline(self._ack_timeout_s)
        try:
            self._client = client = self._new_client(deadline)
            client.connect(*self._address, keepalive=self._keepalive_s)
            while not self._connected:
                if self._refusal is not None:
                    raise SinkError(f"{self._where()}: the broker refused: {self._refusal}", retry=True)
                if deadline.is_over():
                    raise SinkError(f"{self._where()}: the broker does not answer", retry=True)
                self._poll(0.2)
        except SinkError:
            self._drop()
            raise
        except ConfigError as exc:  # the password's file is missing
            self._drop()
            raise SinkError(str(exc), retry=True) from exc
        except Exception as exc:  # paho raises any exception on what it cannot encode or parse
            self._drop()
            if isinstance(exc, OSError):
                raise SinkError(explain(exc, *self._address, self._context.clock), retry=True) from exc
            raise SinkError(f"{self._where()}: {foreign_text(exc)}", retry=True) from exc
        self._evictions.connected(time.monotonic())
        self._publish("available", b"online", None, retain=True)
        topics = [f"{self._base}/{topic}" for topic in self._dialect.commands]
        topics += [] if self._discovery is None else [f"{self._discovery}/status"]
        for topic in topics if time.monotonic() >= self._subscribe_at else ():
            client.subscribe(topic, 1)
        self._publish_state()

    def _new_client(self, deadline: Deadline) -> Any:
        def open_socket() -> LimitedSocket:
            self._socket = LimitedSocket(connect(*self._address, deadline, self._tls))
            return self._socket

        client = new_client(self._paho, self._client_id, open_socket)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.max_inflight_messages_set(0)  # this class limits the window
        client.will_set(f"{self._base}/available", b"offline", qos=1, retain=True)
        username, password = self._login
        if username is not None:
            client.username_pw_set(username, None if password is None else password.read())
        self._connected, self._refusal = False, None
        return client

    def _drop(self) -> None:
        """Close the connection and discard paho's state."""
        connection, self._client, self._socket = self._socket, None, None
        self._connected = self._delivered = False
        self._waiting.clear()
        self._unacknowledged.clear()
        self._waiting_bytes = 0
        if connection is not None:
            connection.close()

    def _poll(self, timeout_s: float) -> None:
        """Read and write what is pending. Raises SinkError if the connection is lost."""
        client, connection = self._client, self._socket
        if client.socket() is not None and connection is not None:
            poller = select.poll()
            poller.register(connection, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            try:
                for _, events in poller.poll(0 if connection.pending() else round(timeout_s * 1000)):
                    if events & select.POLLOUT:
                        client.loop_write()
                    if events & ~select.POLLOUT:
                        client.loop_read()
                client.loop_misc()
                if getattr(client, "_in_messages", None):  # paho stores these without a limit
                    connection.excess = "a message with QoS 2; expected at most 1"
            except OSError as exc:  # paho 1.6 does not handle every one
                raise self._connection_lost(connection.excess) from exc
            except Exception as exc:  # paho raises any exception on a malformed packet
                self._drop()
                raise SinkError(f"{self._where()}: not an MQTT packet ({type(exc).__name__})", retry=True) from exc
        if client.socket() is None or connection is None or connection.excess is not None:
            raise self._connection_lost(None if connection is None else connection.excess)

    def _connection_lost(self, excess: str | None) -> SinkError:
        """The error for a closed connection. excess: the limit that the broker exceeded."""
        refusal, now_s = self._refusal, time.monotonic()
        if self._connected and excess is None:
            in_flight = any(id_ is not None for id_, _ in self._waiting.values())
            self._evictions.lost(now_s, explained=in_flight and not self._delivered)
        self._drop()
        if excess is not None:
            self._subscribe_at = time.monotonic() + _SUBSCRIBE_AGAIN_S
            ignored = f"'{self._discovery}/status'" if self._discovery else "commands" if self._dialect.commands else ""
            ignored = f"; ignoring {ignored} for an hour" if ignored else ""
            return SinkError(f"{self._where()}: the broker sent {excess}{ignored}", retry=True)
        if refusal is not None:
            return SinkError(f"{self._where()}: the broker refused: {refusal}", retry=True)
        evicted = self._evictions.is_likely(now_s)
        reason = self._evictions.text(self._client_id) if evicted else "the connection was lost"
        return _ConnectionLost(f"{self._where()}: {reason}", retry=True)

    def _await_ack(self, batch: Deadline) -> None:
        """Wait until at least one more message is acknowledged. Raises SinkError (retry)."""
        before = len(self._waiting)
        next_ack = Deadline(self._ack_timeout_s)
        while len(self._waiting) == before:
            try:
                left_s = min(next_ack.left_s(), batch.left_s())
            except TimeoutError:
                self._drop()
                reason = f"no acknowledgment in {self._ack_timeout_s:g} s"
                raise SinkError(f"{self._where()}: {reason}", retry=True) from None
            self._poll(min(left_s, 1.0))

    def _publish(self, topic: str, payload: bytes, id_: str | None, *, retain: bool = False) -> None:
        """topic: below the device's."""
        self._publish_at(f"{self._base}/{topic}", payload, id_, retain=retain)

    def _publish_at(self, topic: str, payload: bytes, id_: str | None, *, retain: bool) -> None:
        try:
            info = self._client.publish(topic, payload, qos=1, retain=retain)
        except (OSError, ValueError) as exc:
            raise self._connection_lost(None) from exc
        if info.rc != 0:
            raise self._connection_lost(None)
        self._waiting[info.mid] = (id_, len(payload))
        self._waiting_bytes += len(payload)

    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    # Callbacks of paho. The number of arguments differs between its versions.

    def _on_connect(self, *arguments: Any) -> None:
        reason = arguments[3]
        if getattr(reason, "is_failure", reason != 0):
            text = str(reason) if not isinstance(reason, int) else self._paho.connack_string(reason)
            self._refusal = foreign_text(text)
        else:
            self._connected = True

    def _on_publish(self, *arguments: Any) -> None:
        if self._socket is not None:
            self._socket.count_acknowledgment()
        id_, size = self._waiting.pop(arguments[2], (None, 0))
        self._waiting_bytes -= size
        if id_ is not None:
            self._delivered = True
            self._unacknowledged[id_] = self._unacknowledged.get(id_, 0) - 1
            if self._unacknowledged[id_] <= 0:
                del self._unacknowledged[id_]
                self._record_delivery(id_)

    def _on_message(self, *arguments: Any) -> None:
        is_command = bool(self._dialect.commands)  # the answer: the state, which a command does not change
        self._announce = self._announce or is_command or arguments[2].payload == b"online"

    def _publish_state(self) -> None:
        """What a receiver needs to know now: the discovery, and the state in the dialect."""
        self._announce = False
        if self._discovery is not None:
            topic, payload = _home_assistant.discovery(self._context, self._base, self._discovery)
            self._publish_at(topic, payload, None, retain=True)
        for each in self._dialect.state():
            self._publish(each.topic, each.payload, None, retain=each.retain)
