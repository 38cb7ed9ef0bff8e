"""Select the frames whose results are published: the option `publish.results`.

Not here: what counts as a change (changes.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from edge_app.frame import Frame, HeadOutput
from edge_app.publish import changes


class ResultFilter:
    """results: `all`, `none`, `on_change`, or N: one every N seconds. unchanged: frames whose results were left out."""

    def __init__(self, results: Literal["on_change", "all", "none"] | float) -> None:
        self.unchanged = 0
        self._results = results
        self._published: Mapping[str, HeadOutput] | None = None
        self._next_ns = 0

    def accepts(self, frame: Frame) -> bool:
        """Whether to publish a frame's results."""
        if self._results == "none":
            return False
        heads = frame.outputs
        if self._results == "on_change":
            due = self._published is None or changes.differ(self._published, heads)
        elif self._results == "all":
            due = True
        else:
            due = frame.captured_ns >= self._next_ns
            if due:
                self._next_ns = frame.captured_ns + round(self._results * 1e9)
        if due:
            self._published = heads
        else:
            self.unchanged += 1
        return due
