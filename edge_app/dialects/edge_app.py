"""edge-app: the published messages as they are. Topics: `result`, `status` and `event/<rule>`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

from edge_app.dialects import DialectContext, Publication, is_level
from edge_app.errors import SinkError, foreign_text
from edge_app.messages import Message


class Dialect:
    prefix: ClassVar[str] = "edge-app"
    per_device: ClassVar[bool] = True
    commands: Sequence[str] = ()

    def __init__(self, context: DialectContext) -> None:
        """There is nothing to remember."""

    def convert(self, message: Message) -> list[Publication]:
        """Raises SinkError if the rule's name cannot be part of a topic."""
        if message.kind != "event":
            return [Publication(message.kind, message.payload)]
        rule = json.loads(message.payload)["rule"]
        if not is_level(rule):
            found = f"rule '{foreign_text(rule)}' cannot be part of a topic"
            raise SinkError(f"{found}: found one of + # / NUL", retry=False)
        return [Publication(f"event/{rule}", message.payload)]

    def command(self, topic: str, payload: bytes) -> None:  # noqa: ARG002  it has no topics of commands
        return None

    def state(self) -> list[Publication]:
        """None: each message is complete."""
        return []
