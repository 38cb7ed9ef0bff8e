"""Commands that an MQTT sink receives: `set/<camera>/…` below the device's topics, and those of its dialect.

Each is answered on `answer`, not retained: `{"id", "command", "ok", "error"}`. A retained command is ignored: it would
be executed again at every connection. Not here: what a command does (commands/).
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from edge_app.dialects import Dialect, as_level
from edge_app.errors import foreign_text
from edge_app.frame import JsonValue
from edge_app.sinks import SinkContext
from edge_app.state.board import Submit

IDLE_S = 0.25  # how often the sink looks for commands if it has nothing to send
BYTES_PER_S = 1024.0  # that the broker may send on average; a flood ends the subscription
IGNORE_S = 60.0  # after a flood
_MAX_ANSWERS = 20  # that wait to be published; of a flood, most get none
_LOG = logging.getLogger(__name__)


class CommandTopics:
    """base: the first levels of the device's topics. enabled: the option `commands`; if not, nothing is executed."""

    def __init__(self, context: SinkContext, base: str, dialect: Dialect, *, enabled: bool) -> None:
        self._base, self._dialect = base, dialect
        self._dialects: Mapping[str, Dialect] = getattr(dialect, "by_camera", {context.source: dialect})
        states = {each.source: each.state for each in context.each if enabled and each.state is not None}
        self._submits = {f"{base}/set/{as_level(camera)}/": state.submit for camera, state in states.items()}
        self._answers: deque[bytes] = deque(maxlen=_MAX_ANSWERS)  # other threads append
        self._reported = False

    @property
    def subscriptions(self) -> list[str]:
        """The topics to receive. A dialect's are answered with its state in any case."""
        own = [f"{prefix}#" for prefix in self._submits]
        return own + [f"{self._base}/{topic}" for topic in self._dialect.commands]

    def receive(self, message: Any) -> None:
        """Take a message of the broker, if it is a command. message: paho's."""
        topic, payload = message.topic, bytes(message.payload)
        found = self._command(topic, payload)
        if found is None:
            return
        if message.retain:
            if not self._reported:
                _LOG.warning("%s: ignored: a retained command; expected it without retain", foreign_text(topic, 100))
            self._reported = True
            return
        submit, command, payload = found
        submit(command, payload, self._answer)

    def _command(self, topic: str, payload: bytes) -> tuple[Submit, str, bytes] | None:
        """Who executes the command of a topic, its name and its payload; None: it is none."""
        for prefix, submit in self._submits.items():
            if topic.startswith(prefix):
                return submit, topic.removeprefix(prefix), payload
        if not self._submits or not topic.startswith(f"{self._base}/"):
            return None
        for camera, dialect in self._dialects.items():
            command = dialect.command(topic.removeprefix(f"{self._base}/"), payload)
            if command is not None:
                return self._submits[f"{self._base}/set/{as_level(camera)}/"], *command
        return None

    def publish(self, publish: Callable[[str, bytes], None]) -> None:
        """Publish the answers that wait. publish: takes the full topic and the payload."""
        while self._answers:
            publish(f"{self._base}/answer", self._answers.popleft())

    def _answer(self, fields: Mapping[str, JsonValue], _status: int) -> None:
        self._answers.append(json.dumps(dict(fields), ensure_ascii=False).encode())
