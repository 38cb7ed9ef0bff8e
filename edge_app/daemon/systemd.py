"""Speak to the service manager: sd_notify(3)'s datagrams to $NOTIFY_SOCKET. Without one, nothing is sent.

Not here: when to speak (daemon.py).
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Mapping


class Notifier:
    """environ: the process's environment, read once. watchdog_s: how often a ping is wanted, None where not at all."""

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
        """Show one line beside the service; the same line twice is sent once."""
        self._send(self._changed(status))

    def reloading(self) -> None:
        """From now until `ready` the configuration is being exchanged."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        self._send("STOPPING=1", self._changed(status))

    def ping(self) -> None:
        self._send("WATCHDOG=1")

    def extend_start(self, by_s: float) -> None:
        """It takes longer to become ready, and that is no fault."""
        self._send(f"EXTEND_TIMEOUT_USEC={round(by_s * 1e6)}")

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def _changed(self, status: str) -> str:
        status = " ".join(status.split())
        if status == self._status:
            return ""
        self._status = status
        return f"STATUS={status}"

    def _send(self, *lines: str) -> None:
        text = "\n".join(line for line in lines if line)
        if self._socket is None or not text:
            return
        with contextlib.suppress(OSError):  # a manager that does not listen is no reason to stop
            self._socket.sendto(text.encode(), self._address)


def _watchdog_s(environ: Mapping[str, str]) -> float | None:
    """Half of what the manager allows between pings; None where it watches nothing, or another process."""
    usec = environ.get("WATCHDOG_USEC", "")
    if not usec.isdigit() or not int(usec) or environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(usec) / 2e6
