"""Run the daemon in a separate process, and observe it as its service manager and its sinks do."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.conftest import PROJECT

RUN = "import sys; from tests import plugins; plugins.install(); from edge_app.cli import main; sys.exit(main())"


class Running:
    """`edge-app run` with a notify socket and the plug-ins of the tests. heard: the datagrams received so far."""

    def __init__(self, config: Path, *arguments: str, **environ: str) -> None:
        self.config = config
        self.folder = config.parent
        self.heard: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        self._socket.bind(str(address))
        self._errors = (self.folder / "stderr").open("w+", encoding="utf-8")
        command = [sys.executable, "-c", RUN, "run", "-c", str(config), *arguments]
        given = {**os.environ, "PYTHONPATH": str(PROJECT), "NOTIFY_SOCKET": str(address), **environ}
        self.process = subprocess.Popen(command, cwd=PROJECT, env=given, stderr=self._errors)

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self._socket.close()
        self._errors.close()

    def wait_for(self, word: str, timeout_s: float = 30.0) -> str:
        """Wait for a datagram that contains `word`. Returns it."""
        end_s = time.monotonic() + timeout_s
        while (left_s := end_s - time.monotonic()) > 0:
            self._socket.settimeout(min(left_s, 0.5))
            try:
                self.heard.append(self._socket.recv(65536).decode())
            except TimeoutError:
                if self.process.poll() is not None:
                    break
                continue
            if word in self.heard[-1]:
                return self.heard[-1]
        raise AssertionError(f"no datagram with {word!r}; received {self.heard[-20:]}; {self.errors()}")

    def listen(self, for_s: float) -> list[str]:
        """The datagrams received within `for_s`."""
        end_s, heard = time.monotonic() + for_s, []
        while (left_s := end_s - time.monotonic()) > 0:
            self._socket.settimeout(left_s)
            try:
                heard.append(self._socket.recv(65536).decode())
            except TimeoutError:
                break
        return heard

    def errors(self) -> str:
        return (self.folder / "stderr").read_text(encoding="utf-8")

    def messages(self, kind: str = "event", name: str = "out.jsonl") -> list[dict]:
        """The messages published to a file, without an incomplete last line."""
        path = self.folder / name
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [message for message in found if message["kind"] == kind]

    def until(self, condition: Callable[[], object], timeout_s: float = 20.0) -> None:
        """Wait until the condition is true."""
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, f"still false: {self.errors()}"
            time.sleep(0.05)

    def stop(self, number: int, timeout_s: float = 20.0) -> float:
        """Send a signal and wait for the end of the process. Returns the seconds that it took."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout_s)
        return time.monotonic() - began


def unended(events: list[dict]) -> set[str]:
    """The ids of events that have started and not ended."""
    began = {event["event_id"] for event in events if event["type"] == "new"}
    return began - {event["event_id"] for event in events if event["type"] == "end"}


def free_port() -> int:
    """A TCP port of 127.0.0.1 without a listener."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def is_listening(port: int) -> bool:
    """Whether a process listens on this TCP port of 127.0.0.1 or all addresses. Makes no connection."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]]
    return any(row[3] == "0A" and int(row[1].partition(":")[2], 16) == port for row in rows)
