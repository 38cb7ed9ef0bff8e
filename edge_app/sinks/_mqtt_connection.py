"""A connection to a broker that is bounded in time and bytes, and reports what the broker acknowledges.

paho's queue and reconnect are not used: the queue is in memory only, and the reconnect has no jitter. Each connection
has its own client, so nothing is sent that the outbox does not track. Not here: which messages are sent (mqtt.py).
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from edge_app.clock import Clock
from edge_app.errors import ConfigError, SinkError, foreign_text
from edge_app.network.connection import Deadline, connect
from edge_app.network.tls import explain
from edge_app.options.secret import Secret
from edge_app.sinks._evictions import EvictionDetector
from edge_app.sinks._paho import LimitedSocket, new_client


class ConnectionLost(SinkError):
    """The broker, or the network, closed an established connection."""


@dataclass(frozen=True, slots=True)
class ReceiveLimits:
    """What a broker may send. bytes_per_s: on average, in addition to acknowledgments.

    ignore_s: how long nothing is subscribed to after it has sent more.
    """

    bytes_per_s: float = 64.0
    ignore_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A broker and how to log in. address: host, port. tls: an ssl.SSLContext, or None. will: topic of `available`.

    subscriptions: topics to receive. ack_timeout_s: for connecting, and for each acknowledgment.
    """

    address: tuple[str, int]
    tls: Any
    login: tuple[str | None, Secret | None]
    client_id: str
    keepalive_s: int
    ack_timeout_s: float
    will: str
    subscriptions: Sequence[str] = ()
    limits: ReceiveLimits = ReceiveLimits()


class Connection:
    """At most one connection at a time. waiting: publications without an acknowledgment; waiting_bytes: of them.

    paho: the module paho.mqtt.client. on_delivered: called with the id of a message when all its publications are
    acknowledged. on_message: called with each received message.
    """

    def __init__(
        self,
        paho: Any,
        endpoint: Endpoint,
        clock: Clock,
        *,
        on_delivered: Callable[[str], None],
        on_message: Callable[[Any], None],
    ) -> None:
        self._paho = paho
        self._endpoint = endpoint
        self._clock = clock
        self._on_delivered = on_delivered
        self._on_message = on_message
        self._subscribe_at = 0.0  # not before; time.monotonic()
        self._client: Any = None
        self._socket: LimitedSocket | None = None
        self._refusal: str | None = None
        self._connected = False
        self._waiting: dict[int, tuple[str | None, int]] = {}  # by mid: message id (None: our own), bytes
        self.waiting_bytes = 0
        self._unacknowledged: dict[str, int] = {}  # by message id: its publications without an acknowledgment
        self._delivered = False  # a message, over this connection
        self._evictions = EvictionDetector()

    @property
    def where(self) -> str:
        return f"{self._endpoint.address[0]}:{self._endpoint.address[1]}"

    @property
    def local_host(self) -> str:
        """The address of this device on the network of the broker; "" without a connection."""
        try:
            return "" if self._socket is None else str(self._socket.getsockname()[0])
        except OSError:
            return ""

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def is_open(self) -> bool:
        return self._client is not None and self._connected and self._client.socket() is not None

    def open(self) -> bool:
        """Connect and log in, if not connected. Returns whether it is a new connection. Raises SinkError (retry)."""
        if self.is_open:
            return False
        self.drop()
        deadline = Deadline(self._endpoint.ack_timeout_s)
        try:
            self._client = self._new_client(deadline)
            self._client.connect(*self._endpoint.address, keepalive=self._endpoint.keepalive_s)
            while not self._connected:
                if self._refusal is not None:
                    raise SinkError(f"{self.where}: the broker refused: {self._refusal}", retry=True)
                if deadline.is_over():
                    raise SinkError(f"{self.where}: the broker does not answer", retry=True)
                self.poll(0.2)
        except SinkError:
            self.drop()
            raise
        except ConfigError as exc:  # the password's file is missing
            self.drop()
            raise SinkError(str(exc), retry=True) from exc
        except Exception as exc:  # paho raises any exception on what it cannot encode or parse
            self.drop()
            if isinstance(exc, OSError):
                raise SinkError(explain(exc, *self._endpoint.address, self._clock), retry=True) from exc
            raise SinkError(f"{self.where}: {foreign_text(exc)}", retry=True) from exc
        self._evictions.connected(time.monotonic())
        self.publish(self._endpoint.will, b"online", None, retain=True)
        for topic in self._endpoint.subscriptions if time.monotonic() >= self._subscribe_at else ():
            self._client.subscribe(topic, 1)
        return True

    def close(self) -> None:
        """Publish `offline` and close. Safe to call twice."""
        if self._client is not None and self._connected:
            try:
                self.publish(self._endpoint.will, b"offline", None, retain=True)
                end = time.monotonic() + 1.0
                while self._waiting and time.monotonic() < end:
                    self.poll(0.1)
                self._client.disconnect()
            except (SinkError, OSError, ValueError):
                pass  # the last will does the same
        self.drop()

    def drop(self) -> None:
        """Close the connection and discard paho's state."""
        connection, self._client, self._socket = self._socket, None, None
        self._connected = self._delivered = False
        self._waiting.clear()
        self._unacknowledged.clear()
        self.waiting_bytes = 0
        if connection is not None:
            connection.close()

    def expect(self, id_: str, publications: int) -> None:
        """A message is delivered when this number of its publications is acknowledged."""
        self._unacknowledged[id_] = publications

    def publish(self, topic: str, payload: bytes, id_: str | None, *, retain: bool) -> None:
        """Publish with QoS 1. id_: of the message that it belongs to. Raises SinkError (retry)."""
        try:
            info = self._client.publish(topic, payload, qos=1, retain=retain)
        except (OSError, ValueError) as exc:
            raise self._lost(None) from exc
        if info.rc != 0:
            raise self._lost(None)
        self._waiting[info.mid] = (id_, len(payload))
        self.waiting_bytes += len(payload)

    def poll(self, timeout_s: float) -> None:
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
                raise self._lost(connection.excess) from exc
            except Exception as exc:  # paho raises any exception on a malformed packet
                self.drop()
                raise SinkError(f"{self.where}: not an MQTT packet ({type(exc).__name__})", retry=True) from exc
        if client.socket() is None or connection is None or connection.excess is not None:
            raise self._lost(None if connection is None else connection.excess)

    def await_ack(self, batch: Deadline) -> None:
        """Wait until at least one more publication is acknowledged. Raises SinkError (retry)."""
        before = len(self._waiting)
        next_ack = Deadline(self._endpoint.ack_timeout_s)
        while len(self._waiting) == before:
            try:
                left_s = min(next_ack.left_s(), batch.left_s())
            except TimeoutError:
                self.drop()
                reason = f"no acknowledgment in {self._endpoint.ack_timeout_s:g} s"
                raise SinkError(f"{self.where}: {reason}", retry=True) from None
            self.poll(min(left_s, 1.0))

    def _new_client(self, deadline: Deadline) -> Any:
        def open_socket() -> LimitedSocket:
            self._socket = LimitedSocket(
                connect(*self._endpoint.address, deadline, self._endpoint.tls), self._endpoint.limits.bytes_per_s
            )
            return self._socket

        client = new_client(self._paho, self._endpoint.client_id, open_socket)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_message = lambda *arguments: self._on_message(arguments[2])
        client.max_inflight_messages_set(0)  # the sink limits the window
        client.will_set(self._endpoint.will, b"offline", qos=1, retain=True)
        username, password = self._endpoint.login
        if username is not None:
            client.username_pw_set(username, None if password is None else password.read())
        self._connected, self._refusal = False, None
        return client

    def _lost(self, excess: str | None) -> SinkError:
        """The error for a closed connection. excess: the limit that the broker exceeded."""
        refusal, now_s = self._refusal, time.monotonic()
        if self._connected and excess is None:
            in_flight = any(id_ is not None for id_, _ in self._waiting.values())
            self._evictions.lost(now_s, explained=in_flight and not self._delivered)
        self.drop()
        if excess is not None:
            self._subscribe_at = time.monotonic() + self._endpoint.limits.ignore_s
            topics = " ".join(f"'{topic}'" for topic in self._endpoint.subscriptions)
            duration = "an hour" if self._endpoint.limits.ignore_s == 3600 else f"{self._endpoint.limits.ignore_s:g} s"
            ignored = f"; ignoring {topics} for {duration}" if topics else ""
            return SinkError(f"{self.where}: the broker sent {excess}{ignored}", retry=True)
        if refusal is not None:
            return SinkError(f"{self.where}: the broker refused: {refusal}", retry=True)
        evicted = self._evictions.is_likely(now_s)
        reason = self._evictions.text(self._endpoint.client_id) if evicted else "the connection was lost"
        return ConnectionLost(f"{self.where}: {reason}", retry=True)

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
        self.waiting_bytes -= size
        if id_ is not None:
            self._delivered = True
            self._unacknowledged[id_] = self._unacknowledged.get(id_, 0) - 1
            if self._unacknowledged[id_] <= 0:
                del self._unacknowledged[id_]
                self._on_delivered(id_)
