"""A Mosquitto of our own on a free port, started and stopped at will; for measurements and for the tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from edge_app.errors import ConfigError

_WHERE = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"


def program() -> str | None:
    """The broker's path, or None where it is not installed."""
    return shutil.which("mosquitto", path=_WHERE)


class Mosquitto:
    """Always on the same port. A subscriber that falls behind loses nothing: its queue is unbounded."""

    def __init__(self, folder: Path, *, persistent: bool = False) -> None:
        """persistent: keeps what it has accepted over `stop`. Raises ConfigError where there is no broker to start."""
        found = program()
        if found is None:
            raise ConfigError("found no mosquitto; expected it installed: apt-get install mosquitto")
        self._program = found
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.config = folder / "mosquitto.conf"
        self.config.write_text(
            f"listener {self.port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\nset_tcp_nodelay true\n"
            + (f"persistence true\npersistence_location {folder}/\nuser root\n" if persistent else ""),
            encoding="utf-8",
        )
        self._persistent = persistent
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Mosquitto:
        return self.start()

    def __exit__(self, *exc: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self) -> Mosquitto:
        """Return when it listens. Raises ConfigError where it does not."""
        command = [self._program, "-c", str(self.config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 5
        while time.monotonic() < end and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return self
        self.stop()
        raise ConfigError(f"mosquitto does not listen on 127.0.0.1:{self.port}")

    def stop(self) -> None:
        """End it; what it had in memory is gone where it is not persistent. Safe to call twice."""
        if self._process is not None:
            (self._process.terminate if self._persistent else self._process.kill)()
            self._process.wait()
            self._process = None
