"""JSON lines. Some messages take longer to write than others. seed: of these times."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from pathlib import Path

from edge_app.messages import Message
from edge_app.sinks import SinkContext, jsonl


class Sink(jsonl.Sink):
    def __init__(self, context: SinkContext, *, path: Path, seed: int = 0) -> None:
        super().__init__(context, path=path)
        self._times = random.Random(seed)

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        time.sleep(self._times.choice((0.0, 0.0, 0.005, 0.03)))
        return super().send(batch)
