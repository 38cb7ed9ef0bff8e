"""MQTT 3.1.1 with QoS 1: a message counts as delivered when the broker has sent its PUBACK.

Topics: `<prefix>/<device>/result`, `…/status`, `…/event/<rule>`, and `…/available`, retained: `online` or, as the last
will, `offline`. paho's queue and reconnect are not used: the queue is in memory only, and the reconnect has no jitter.
Each connection has its own client, so nothing is sent that the outbox does not track.
"""

from __future__ import annotations

import json
import select
import ssl
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from edge_app.errors import ConfigError, SinkError
from edge_app.messages import Message
from edge_app.options import Positive, Range
from edge_app.options.secret import Secret
from edge_app.sinks import SinkContext, _home_assistant, _tls

_WINDOW_BYTES = 1 << 20
_LEVEL_NOT_ALLOWED = ("+", "#", "/", "\0")


class Sink:
    """window: messages in flight. home_assistant: publish discovery, and retain each rule's last event."""

    batch_limit = 200

    def __init__(
        self,
        context: SinkContext,
        *,
        host: str,
        port: Annotated[int, Range(1, 65535)] | None = None,
        prefix: str = "edge-app",
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
        self._address = (host, port or (8883 if tls else 1883))
        for name, text in (("prefix", prefix), ("discovery_prefix", discovery_prefix)):
            if any(not _is_level(level) for level in text.split("/")) or text.startswith("$"):
                raise ConfigError(f"{name}: found {text!r}; expected topic levels without + # NUL or a leading $")
        for rule in context.rules:
            if not _is_level(rule):
                raise ConfigError(f"rule '{rule}': expected a name without + # / NUL, because it is part of a topic")
        self._base = f"{prefix}/{context.device_id}"
        self._tls = _tls_context(tls, ca, cert, key)
        self._login = (username, password)
        if password is not None:
            password.read()  # raises ConfigError now; read again for each connection, because it may be replaced
        self._window = window
        self._ack_timeout_s = ack_timeout_s
        self._keepalive_s = keepalive_s
        self._discovery = discovery_prefix if home_assistant else None
        self._announce = False
        self._client: Any = None
        self._refusal: str | None = None
        self._connected = False
        self._waiting: dict[int, tuple[str | None, int]] = {}  # by mid: message id (None: our own), bytes
        self._waiting_bytes = 0
        self._acked: set[str] = set()

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError (retry) if the broker is unreachable, refuses the login or acknowledges nothing in time."""
        topics = [self._topic(message) for message in batch]
        self._connect()
        self._acked = set()
        try:
            for message, topic in zip(batch, topics):
                while len(self._waiting) >= self._window or self._waiting_bytes > _WINDOW_BYTES:
                    self._await_ack()
                retain = self._discovery is not None and message.kind == "event"
                self._publish(topic, message.payload, message.id, retain=retain)
            while self._waiting:
                self._await_ack()
        except SinkError:
            if not self._acked:
                raise
        return self._acked

    def idle(self) -> None:
        self._connect()
        self._poll(0)
        if self._announce:
            self._publish_discovery()

    def close(self) -> None:
        if self._client is not None and self._connected:
            try:
                self._publish(f"{self._base}/available", b"offline", None, retain=True)
                end = time.monotonic() + 1.0
                while self._waiting and time.monotonic() < end:
                    self._poll(0.1)
                self._client.disconnect()
            except SinkError:
                pass  # the last will does the same
        self._drop()

    # The connection.

    def _connect(self) -> None:
        """Connect and log in, if not connected. Raises SinkError (retry)."""
        if self._client is not None and self._connected and self._client.socket() is not None:
            return
        self._drop()
        try:
            self._client = client = self._new_client()
            client.connect(*self._address, keepalive=self._keepalive_s)
            end = time.monotonic() + self._ack_timeout_s
            while not self._connected:
                if self._refusal is not None:
                    raise SinkError(f"{self._where()}: the broker refused: {self._refusal}", retry=True)
                if time.monotonic() > end:
                    raise SinkError(f"{self._where()}: the broker does not answer", retry=True)
                self._poll(0.2)
        except SinkError:
            self._drop()
            raise
        except (OSError, ValueError, ConfigError) as exc:
            self._drop()
            reason = _tls.explain(exc, *self._address, self._context.clock) if isinstance(exc, OSError) else str(exc)
            raise SinkError(reason, retry=True) from exc
        self._publish(f"{self._base}/available", b"online", None, retain=True)
        if self._discovery is not None:
            client.subscribe(f"{self._discovery}/status", 1)
            self._publish_discovery()

    def _new_client(self) -> Any:
        paho, client_id = self._paho, f"edge-app-{self._context.device_id}-{self._context.name}"
        options = {"client_id": client_id, "clean_session": True, "reconnect_on_failure": False}
        if hasattr(paho, "CallbackAPIVersion"):  # paho 2; the callbacks below accept the arguments of both versions
            options["callback_api_version"] = paho.CallbackAPIVersion.VERSION2
        client = paho.Client(**options)
        client.on_connect = self._on_connect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        client.max_inflight_messages_set(0)  # this class limits the window
        client.will_set(f"{self._base}/available", b"offline", qos=1, retain=True)
        username, password = self._login
        if username is not None:
            client.username_pw_set(username, None if password is None else password.read())
        if self._tls is not None:
            client.tls_set_context(self._tls)
        self._connected, self._refusal = False, None
        return client

    def _drop(self) -> None:
        """Close the connection and discard paho's state."""
        client, self._client = self._client, None
        self._connected = False
        self._waiting.clear()
        self._waiting_bytes = 0
        if client is not None and client.socket() is not None:
            client.socket().close()

    def _poll(self, timeout_s: float) -> None:
        """Read and write what is pending. Raises SinkError if the connection is lost."""
        client = self._client
        socket = client.socket()
        if socket is not None:
            wait_ms = 0 if isinstance(socket, ssl.SSLSocket) and socket.pending() else round(timeout_s * 1000)
            poller = select.poll()
            poller.register(socket, select.POLLIN | (select.POLLOUT if client.want_write() else 0))
            for _, events in poller.poll(wait_ms):
                if events & select.POLLOUT:
                    client.loop_write()
                if events & ~select.POLLOUT:
                    client.loop_read()
            client.loop_misc()
        if client.socket() is None:
            refusal = f"the broker refused: {self._refusal}" if self._refusal else "the connection was lost"
            self._drop()
            raise SinkError(f"{self._where()}: {refusal}", retry=True)

    def _await_ack(self) -> None:
        """Wait until at least one more message is acknowledged. Raises SinkError (retry)."""
        before = len(self._waiting)
        end = time.monotonic() + self._ack_timeout_s
        while len(self._waiting) == before:
            if (left_s := end - time.monotonic()) <= 0:
                self._drop()
                raise SinkError(f"{self._where()}: no acknowledgment in {self._ack_timeout_s:g} s", retry=True)
            self._poll(min(left_s, 1.0))

    def _publish(self, topic: str, payload: bytes, id_: str | None, *, retain: bool = False) -> None:
        info = self._client.publish(topic, payload, qos=1, retain=retain)
        if info.rc != 0:
            self._drop()
            raise SinkError(f"{self._where()}: the connection was lost", retry=True)
        self._waiting[info.mid] = (id_, len(payload))
        self._waiting_bytes += len(payload)

    def _where(self) -> str:
        return f"{self._address[0]}:{self._address[1]}"

    # Callbacks of paho. The number of arguments differs between its versions.

    def _on_connect(self, *arguments: Any) -> None:
        reason = arguments[3]
        if getattr(reason, "is_failure", reason != 0):
            self._refusal = str(reason) if not isinstance(reason, int) else self._paho.connack_string(reason)
        else:
            self._connected = True

    def _on_publish(self, *arguments: Any) -> None:
        id_, size = self._waiting.pop(arguments[2], (None, 0))
        self._waiting_bytes -= size
        if id_ is not None:
            self._acked.add(id_)

    def _on_message(self, *arguments: Any) -> None:
        self._announce = self._announce or arguments[2].payload == b"online"

    # Topics.

    def _topic(self, message: Message) -> str:
        if message.kind != "event":
            return f"{self._base}/{message.kind}"
        rule = json.loads(message.payload)["rule"]
        if not _is_level(rule):
            raise SinkError(f"rule '{rule}' cannot be part of a topic: found one of + # / NUL", retry=False)
        return f"{self._base}/event/{rule}"

    def _publish_discovery(self) -> None:
        self._announce = False
        topic, payload = _home_assistant.discovery(self._context, self._base, str(self._discovery))
        self._publish(topic, payload, None, retain=True)


def _is_level(text: str) -> bool:
    """Whether a text can be one level of a topic: not empty, at most 256 bytes, no reserved character."""
    return bool(text) and len(text.encode()) <= 256 and not any(bad in text for bad in _LEVEL_NOT_ALLOWED)


def _tls_context(tls: bool, ca: Path | None, cert: Path | None, key: Path | None) -> ssl.SSLContext | None:
    if tls:
        return _tls.client_context(ca, cert, key)
    if ca or cert or key:
        raise ConfigError("found ca, cert or key without TLS; expected tls: true")
    return None
