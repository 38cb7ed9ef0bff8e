"""Signals: flags for the main loop, in this process."""

from __future__ import annotations

import os
import signal

from edge_app.daemon.signals import Signals


def test_sighup_requests_one_reload():
    with Signals().handled() as signals:
        assert not signals.reload_requested()
        os.kill(os.getpid(), signal.SIGHUP)
        assert [signals.reload_requested() for _ in range(2)] == [True, False]
        assert not signals.stop_requested


def test_sigterm_requests_a_stop():
    with Signals().handled() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.stop_requested


def test_restores_the_previous_handlers():
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)]
    with Signals().handled():
        pass
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)] == before
