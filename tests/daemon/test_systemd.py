"""Notifications to the service manager, over a real datagram socket."""

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


def test_sends_each_notification_as_one_datagram(manager: socket.socket):
    notifications = notifier(manager)
    notifications.extend_start(30)
    notifications.ready("running")
    notifications.reloading()
    notifications.ping()
    notifications.stopping("bye")
    assert manager.recv(999) == b"EXTEND_TIMEOUT_USEC=30000000"
    assert manager.recv(999) == b"READY=1\nSTATUS=running"
    reloading = manager.recv(999).split(b"\n")
    assert reloading[0] == b"RELOADING=1"
    assert int(reloading[1].removeprefix(b"MONOTONIC_USEC=")) > 0
    assert manager.recv(999) == b"WATCHDOG=1"
    assert manager.recv(999) == b"STOPPING=1\nSTATUS=bye"
    notifications.close()


def test_sends_an_unchanged_status_once_and_joins_its_lines(manager: socket.socket):
    notifications = notifier(manager)
    notifications.status("one\nREADY=1")
    notifications.status("one READY=1")
    notifications.status("two")
    assert manager.recv(999) == b"STATUS=one READY=1"
    assert manager.recv(999) == b"STATUS=two"
    notifications.close()


def test_supports_abstract_addresses():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(f"\0edge-app-test-{os.getpid()}")
        listening.settimeout(5)
        notifications = Notifier({"NOTIFY_SOCKET": f"@edge-app-test-{os.getpid()}"})
        notifications.ping()
        assert listening.recv(99) == b"WATCHDOG=1"
        notifications.close()


def test_a_missing_or_blocked_manager_is_ignored(tmp_path: Path, manager: socket.socket):
    gone = Notifier({"NOTIFY_SOCKET": str(tmp_path / "missing")})
    gone.ping()
    gone.close()
    notifications = notifier(manager)
    for _ in range(1000):  # more than the socket buffers
        notifications.ping()
    notifications.close()
    Notifier({}).ready("no manager")


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
def test_the_ping_interval_is_half_the_watchdog_timeout(manager: socket.socket, environ, expected):
    notifications = notifier(manager, **environ)
    assert notifications.watchdog_s == expected
    notifications.close()
