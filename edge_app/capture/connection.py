"""The state of the connection to a source: running, lost, when to try again, and the statistics of both.

Not here: reading frames and replacing hung threads (thread.py).
"""

from __future__ import annotations

import logging
import random
import time
from dataclasses import dataclass
from typing import Literal

from edge_app.backoff import Backoff
from edge_app.clock import Clock
from edge_app.errors import SourceError

_STABLE_S = 10.0  # a source that ran this long since its last reconnect restarts the backoff
_LOG = logging.getLogger(__name__)

State = Literal["waiting", "running", "lost", "frozen", "ended", "closed"]


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """Counters since the start. Times are the clock's monotonic_ns, as in `Frame.captured_ns`.

    state: `waiting` for the first frame, `running`, `lost` (reconnecting), `frozen` (frames arrive but the image
    does not change), `ended` or `closed`. since_ns: time of the last state change.
    frames: read by the pipeline. dropped: replaced by a later frame before they were read.
    failures: times that the source could not be opened or was lost. reconnects: times that it then delivered frames
    again. abandoned: hung reader threads that were replaced. last_error: one line.
    last_frame_ns: captured_ns of the latest frame, read or not.
    missing: frames of a recorded clip that could not be decoded, since it was opened or has started again.
    expected: frames that a replayed clip declares, right or wrong; None: unknown.
    """

    state: State
    since_ns: int
    frames: int
    dropped: int
    failures: int
    reconnects: int
    abandoned: int
    last_error: str | None
    last_frame_ns: int | None
    missing: int = 0
    expected: int | None = None


class Connection:
    """State machine of one source across reconnects. Not thread-safe: Capture guards it with its lock."""

    def __init__(self, name: str, clock: Clock, backoff: Backoff, rng: random.Random) -> None:
        self.name = name
        self._clock = clock
        self._backoff = backoff
        self._rng = rng
        self._attempt = 0  # consecutive failures
        self._lost = False  # failed, and no frame has arrived since
        self._reconnected_s = 0.0  # time.monotonic()
        self.state: State = "waiting"
        self.since_ns = 0
        self.failures = 0
        self.reconnects = 0
        self.last_error: str | None = None

    def start(self) -> None:
        self.since_ns = self._clock.monotonic_ns()

    def enter(self, state: State) -> None:
        if state != self.state:
            self.state = state
            self.since_ns = self._clock.monotonic_ns()

    def restart(self) -> None:
        """Wait for the first frame again, after a pause."""
        self._lost, self._attempt = False, 0
        self.enter("waiting")

    def record_frame(self, *, frozen: bool) -> None:
        """A frame has arrived. frozen: its image has not changed for too long."""
        if self._lost:
            self._lost = False
            self._reconnected_s = time.monotonic()
            self.reconnects += 1
            lost_s = (self._clock.monotonic_ns() - self.since_ns) * 1e-9
            _LOG.warning("%s: receiving frames again after %.1f s", self.name, lost_s)
        self.enter("frozen" if frozen else "running")

    def record_failure(self, error: SourceError) -> None:
        self.failures += 1
        self.last_error = str(error)

    def lose(self, error: SourceError) -> float:
        """Mark the source as lost, or still frozen. Returns the seconds to wait before the next attempt."""
        if not self._lost:
            _LOG.warning("%s; reconnecting", error)
            if time.monotonic() - self._reconnected_s > _STABLE_S:
                self._attempt = 0
        still_frozen = self.state == "frozen" and not self._lost
        self.enter("frozen" if still_frozen else "lost")
        self._lost = True
        wait_s = self._backoff.wait_s(self._attempt, self._rng)
        self._attempt += 1
        return wait_s
