"""A private Mosquitto broker on a free port that can be started and stopped; for benchmarks and tests."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from edge_app.errors import ConfigError

_SEARCH_PATH = "/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/sbin"


def program() -> str | None:
    """The path of the broker, or None if it is not installed."""
    return shutil.which("mosquitto", path=_SEARCH_PATH)


class Mosquitto:
    """A broker that keeps its port over restarts. Its queues are unbounded: a slow subscriber loses nothing."""

    def __init__(self, folder: Path, *, persistent: bool = False) -> None:
        """persistent: accepted messages survive `stop`. Raises ConfigError if Mosquitto is not installed."""
        executable = program()
        if executable is None:
            raise ConfigError("found no mosquitto; expected it installed: apt-get install mosquitto")
        self._program = executable
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
        """Start it and wait until it listens. Raises ConfigError if it does not within 5 s."""
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
        raise ConfigError(f"mosquitto: found nothing listening on 127.0.0.1:{self.port} after 5 s; expected the broker")

    def stop(self) -> None:
        """Stop it; without `persistent` queued messages are lost. Safe to call twice."""
        if self._process is not None:
            (self._process.terminate if self._persistent else self._process.kill)()
            self._process.wait()
            self._process = None
