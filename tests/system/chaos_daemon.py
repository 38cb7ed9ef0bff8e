"""The daemon of a chaos run: `edge-app run` with a clock whose wall time follows a file.

    python -m tests.system.chaos_daemon CONFIG CLOCK_FILE

CLOCK_FILE holds the offset from the machine's clock in seconds. The machine's clock itself is never set.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from contextlib import ExitStack
from pathlib import Path

from edge_app import config, daemon, pipeline
from edge_app.clock import SystemClock
from edge_app.daemon import heap, logs
from edge_app.daemon.signals import Signals
from edge_app.daemon.systemd import Notifier
from edge_app.pipeline.sensors import Reading
from tests import plugins

_CLOCK_EVERY_S = 0.2


class SteppingClock(SystemClock):
    """A clock whose wall time a file steps."""

    def __init__(self, offset: Path) -> None:
        super().__init__()
        self._file = offset
        self._offset_ns = 0
        self._next_s = 0.0

    def utc_ns(self) -> int:
        if time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + _CLOCK_EVERY_S
            self._offset_ns = int(self._file.read_text(encoding="ascii") or 0) * 10**9
        return super().utc_ns() + self._offset_ns


class Calm:
    """A board that never gets hot: the load level stays the same, however busy this machine is."""

    def read(self) -> Reading:
        return Reading(temperature_c=40.0)


def main(path: Path, offset: Path) -> None:
    plugins.install()
    logs.configure("text", sys.stderr, os.environ)
    heap.share_one_arena()
    with Signals().handled() as signals, ExitStack() as stack:
        running = pipeline.Pipeline(config.load(path), SteppingClock(offset))
        subject = daemon.Daemon(lambda: config.load(path), running, Notifier(os.environ), Calm())
        stack.callback(subject.close)
        while not signals.stop_requested:
            subject.step(reload=signals.reload_requested())
    logging.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
