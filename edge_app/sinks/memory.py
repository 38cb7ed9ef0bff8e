"""Keeps the last messages in memory, for tests."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence
from typing import Annotated

from edge_app.messages import Message
from edge_app.options import Range
from edge_app.sinks import SinkContext


class Sink:
    """messages: the last `keep` of them, oldest first."""

    batch_limit = 500

    def __init__(self, context: SinkContext, *, keep: Annotated[int, Range(1, 1_000_000)] = 1000) -> None:
        self.context = context
        self.messages: deque[Message] = deque(maxlen=keep)

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        self.messages.extend(batch)
        return [message.id for message in batch]

    def idle(self) -> None:
        """Nothing to keep alive."""

    def close(self) -> None:
        """The messages stay readable."""
