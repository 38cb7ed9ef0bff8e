"""The daemon's signals. A handler only sets a flag, which the main loop reads."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Signals:
    """SIGTERM and SIGINT request a stop, SIGHUP a reload. A second stop request ends the process immediately."""

    def __init__(self) -> None:
        self.stop_requested = False
        self._reload_requests = self._reloads_started = 0  # counted, so that a request during a reload is not lost

    @contextmanager
    def handled(self) -> Iterator[Signals]:
        """Install the handlers; restore the previous ones on exit."""
        handlers = {signal.SIGTERM: self._on_stop, signal.SIGINT: self._on_stop, signal.SIGHUP: self._on_reload}
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def reload_requested(self) -> bool:
        """Whether a reload was requested since the last call."""
        requests = self._reload_requests
        requested = requests != self._reloads_started
        self._reloads_started = requests
        return requested

    def _on_stop(self, number: int, _frame: FrameType | None) -> None:
        if self.stop_requested:
            os._exit(128 + number)  # accepted messages are on disk or will be produced again
        self.stop_requested = True

    def _on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self._reload_requests += 1
