"""What the service manager hears, over a real datagram socket."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from edge_app.daemon.systemd import Notifier


@pytest.fixture
def manager(tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(5)
        yield listening


def notifier(manager: socket.socket, **more: str) -> Notifier:
    return Notifier({"NOTIFY_SOCKET": manager.getsockname(), **more})


def test_every_word_is_one_datagram_in_systemd_s_form(manager: socket.socket):
    told = notifier(manager)
    told.extend_start(30)
    told.ready("sees")
    told.reloading()
    told.ping()
    told.stopping("bye")
    assert manager.recv(999) == b"EXTEND_TIMEOUT_USEC=30000000"
    assert manager.recv(999) == b"READY=1\nSTATUS=sees"
    reloading = manager.recv(999).split(b"\n")
    assert reloading[0] == b"RELOADING=1"
    assert int(reloading[1].removeprefix(b"MONOTONIC_USEC=")) > 0
    assert manager.recv(999) == b"WATCHDOG=1"
    assert manager.recv(999) == b"STOPPING=1\nSTATUS=bye"
    told.close()


def test_the_same_status_is_told_once_and_never_breaks_the_protocol(manager: socket.socket):
    told = notifier(manager)
    told.status("one\nREADY=1")
    told.status("one READY=1")
    told.status("two")
    assert manager.recv(999) == b"STATUS=one READY=1"
    assert manager.recv(999) == b"STATUS=two"
    told.close()


def test_an_abstract_address_is_spoken_to():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0edge-app-test-{os.getpid()}")
        listening.settimeout(5)
        told = Notifier({"NOTIFY_SOCKET": f"@edge-app-test-{os.getpid()}"})
        told.ping()
        assert listening.recv(99) == b"WATCHDOG=1"
        told.close()


def test_a_manager_that_is_gone_or_does_not_read_stops_nothing(tmp_path: Path, manager: socket.socket):
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    gone.ping()
    gone.close()
    told = notifier(manager)
    for _ in range(1000):  # more than the socket's queue holds
        told.ping()
    told.close()
    Notifier({}).ready("nobody asked")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"WATCHDOG_USEC": "10000000"}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}, 5.0),
        ({"WATCHDOG_USEC": "10000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({}, None),
    ],
)
def test_pings_are_wanted_at_half_the_watchdog_s_time(manager: socket.socket, environ, expected):
    told = notifier(manager, **environ)
    assert told.watchdog_s == expected
    told.close()
