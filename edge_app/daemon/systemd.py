"""Notify the service manager with the datagrams of sd_notify(3) to $NOTIFY_SOCKET. Without one, nothing is sent.

Not here: when to notify (loop.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping

from edge_app.errors import foreign_text

_MAX_STATUS = 1000  # characters


class Notifier:
    """Sends notifications, and never blocks.

    environ: the process's environment, read once. watchdog_s: longest interval between pings; None without a watchdog.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._socket: socket.socket | None = None
        self._address = environ.get("NOTIFY_SOCKET", "").replace("@", "\0", 1)
        if self._address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
            self._socket.setblocking(False)
        self.watchdog_s = _watchdog_s(environ) if self._address else None
        self._status = ""

    def ready(self, status: str) -> None:
        self._send("READY=1", self._changed(status))

    def status(self, status: str) -> None:
        """Set the service's status line. An unchanged line is not sent again."""
        self._send(self._changed(status))

    def reloading(self) -> None:
        """Report that a reload has begun; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", self._changed(status))

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def extend_start(self, by_s: float) -> None:
        """Extend the service manager's start timeout."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(by_s * 1e6)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _changed(self, status: str) -> str:
        status = " ".join(foreign_text(status, _MAX_STATUS).split())
        if status == self._status:
            return ""
        self._status = status
        return f"STATUS={status}"

    def _send(self, *lines: str) -> None:
        text = "\n".join(line for line in lines if line)
        if self._socket is None or not text:
            return
        with contextlib.suppress(OSError):  # a missing or blocked service manager must not stop the daemon
            self._socket.sendto(text.encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Half of the watchdog's timeout; None if there is no watchdog, or if it watches another process."""
    usec = environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or not int(usec) or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2e6
