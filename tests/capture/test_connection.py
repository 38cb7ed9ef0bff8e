"""Connection: states, statistics and backoff across reconnects."""

import random

from edge_app.backoff import Backoff
from edge_app.capture.connection import Connection
from edge_app.clock import ClipClock
from edge_app.errors import SourceError

ERROR = SourceError("camera: lost")


class LongestWait(random.Random):
    """Makes every wait as long as the backoff allows."""

    def uniform(self, a, b):
        return b


def connection(clock=None):
    return Connection("camera", clock or ClipClock(), Backoff(1.0, 30.0), LongestWait())


def test_a_lost_source_runs_again_with_its_next_frame():
    clock = ClipClock()
    running = connection(clock)
    running.record_frame(frozen=False)
    clock.advance(5)
    running.lose(ERROR)
    assert (running.state, running.since_ns) == ("lost", 5)
    clock.advance(5)
    running.record_frame(frozen=False)
    assert (running.state, running.since_ns, running.reconnects) == ("running", 10, 1)


def test_waits_double_while_reconnecting_fails():
    running = connection()
    assert [running.lose(ERROR) for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]


def test_a_short_recovery_does_not_reset_the_backoff():
    running = connection()
    for _ in range(3):
        running.lose(ERROR)
    running.record_frame(frozen=False)
    assert running.lose(ERROR) == 8.0


def test_a_frozen_source_stays_frozen_while_it_is_reconnected_once():
    running = connection()
    running.record_frame(frozen=True)
    running.lose(ERROR)
    assert running.state == "frozen"
    running.lose(ERROR)
    assert running.state == "lost"
