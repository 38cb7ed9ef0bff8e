"""Destinations of messages: one file for each type. This file is the contract; publish/ calls it.

A sink is a class `Sink(context, *, options…)`. Its constructor checks all that can be checked without a connection and
raises ConfigError or SinkError. An unreachable broker or an unplugged cable is an error of `send`, not of the
constructor. A sink whose constructor creates or changes a file sets `opens_file = True`; `edge-app check` then does not
construct it. A sink with an attribute `linger_s` gets a batch that is not full that many seconds after its first
message; `idle` of one with an attribute `idle_s` is called that often.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from edge_app.clock import Clock
from edge_app.messages import Message
from edge_app.state import StateBoard


@dataclass(frozen=True, slots=True)
class Surface:
    """What other systems may show and change.

    labels: of `rules/<name>` and `heads/<name>`, those that are looked for; empty: all. scores: of the heads that have
    a threshold. precisions: to choose from. reuses: whether features are reused. page: host, port and path of the web
    page that other machines can reach. state_dir: where a sink may keep a small file.
    """

    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    scores: Mapping[str, float] = field(default_factory=dict)
    precisions: tuple[str, ...] = ()
    reuses: bool = False
    page: tuple[str, int, str] | None = None
    state_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class SinkContext:
    """The device whose messages a sink sends. name: the sink's. rules: name -> type. heads: name -> family.

    source: the camera's name. snapshots: the folder with a JPEG for each event, if there is one. state: what is true
    now, if the sink may publish it. others: with several cameras, the contexts of those after the first, whose context
    this is.
    """

    device_id: str
    name: str
    clock: Clock
    rules: Mapping[str, str] = field(default_factory=dict)
    heads: Mapping[str, str] = field(default_factory=dict)
    source: str = "camera"
    snapshots: Path | None = None
    state: StateBoard | None = None
    surface: Surface = field(default_factory=Surface)
    others: tuple[SinkContext, ...] = ()

    @property
    def each(self) -> tuple[SinkContext, ...]:
        """The context of every camera."""
        return (self, *self.others)


class Sink(Protocol):
    """One destination, used by one thread. batch_limit: the most messages that `send` accepts."""

    batch_limit: int

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Send messages in order. Returns the ids that are acknowledged, possibly not all.

        Raises SinkError if none was delivered: `retry` says whether to try again, `after_s` when. Returns within a
        bounded time, whatever the peer does.
        """
        ...

    def idle(self) -> None:
        """Called about once a second if there is nothing to send: connect, keep alive. Raises SinkError."""
        ...

    def close(self) -> None:
        """Flush and release. Safe to call twice."""
        ...
