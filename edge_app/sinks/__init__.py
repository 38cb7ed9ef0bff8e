"""Where messages go, one file a type. This is the contract; publish.py drives it.

A sink is `Sink(context, *, options…)`. Constructing it checks what can be checked without the other side being there,
or raises ConfigError or SinkError saying what is wrong; what is only away for now (a broker, a cable) is for `send`.
One that makes or changes a file at once says so (`opens_file = True`), so that `edge-app check` leaves it alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edge_app.clock import Clock
from edge_app.messages import Message


@dataclass(frozen=True, slots=True)
class SinkContext:
    """Whose messages these are. name: the sink's own, as configured. rules: name to type. heads: name to family."""

    device_id: str
    name: str
    clock: Clock
    rules: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """One destination. Used by one thread. batch_limit: how many messages `send` takes at once."""

    batch_limit: int

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Deliver messages in order. Returns the ids that arrived for certain, which may be fewer.

        Raises SinkError (retry or not, and after how long) where none could be delivered. Always returns within a
        bounded time, whatever the other side does.
        """
        ...

    def idle(self) -> None:
        """Called about once a second while there is nothing to send: connect, keep alive. Raises SinkError."""
        ...

    def close(self) -> None:
        """Flush and release; safe to call twice."""
        ...
