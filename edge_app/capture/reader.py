"""A source and the thread that reads it. Detects when a call into the source hangs.

Not here: the thread's loop, and replacing a hung reader (thread.py).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from edge_app.frame import Frame
from edge_app.sources import Source


class Reader:
    """One reader thread. Capture sets `retired` once another reader has replaced it.

    source: None if the thread is to build it. hang_after_s: set once the source is known to be live.
    """

    def __init__(self, source: Source | None) -> None:
        self.source = source
        self.retired = False
        self.hang_after_s = math.inf
        self.thread: threading.Thread | None = None
        self._busy_since_s: float | None = None  # start of the current call into the source
        self._missing = 0

    def start(self, run: Callable[[Reader], None]) -> None:
        self.thread = threading.Thread(target=run, args=(self,), name="capture", daemon=True)
        self.thread.start()

    def read(self, timeout_s: float) -> Frame | None:
        assert self.source is not None
        with self._timed_call():
            return self.source.read(timeout_s)

    def close(self) -> None:
        self._missing = self.missing
        source, self.source = self.source, None
        if source is not None:
            with self._timed_call():
                source.close()

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread. Returns whether it has ended."""
        if self.thread is not None:
            self.thread.join(timeout_s)
        return not self.is_alive()

    def is_alive(self) -> bool:
        return self.thread is not None and self.thread.is_alive()

    @property
    def missing(self) -> int:
        """Frames of a recorded clip that could not be decoded. For any thread."""
        source = self.source
        return self._missing if source is None else int(getattr(source, "missing", 0))

    def hangs(self) -> bool:
        """Whether the current call into the source has exceeded `hang_after_s`. For any thread."""
        busy_since_s = self._busy_since_s
        return busy_since_s is not None and time.monotonic() - busy_since_s > self.hang_after_s

    @contextmanager
    def _timed_call(self) -> Iterator[None]:
        self._busy_since_s = time.monotonic()
        try:
            yield
        finally:
            self._busy_since_s = None
