"""A daemon in a process of its own, seen as its service manager and its sinks see it."""

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
    """`edge-app run` with a manager's socket; tests' plug-ins are found. heard: what the manager was told so far."""

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
        """Listen until the manager is told something that holds `word`; that datagram."""
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
        raise AssertionError(f"never heard {word!r}; heard {self.heard[-20:]}; {self.errors()}")

    def listen(self, for_s: float) -> list[str]:
        """What the manager is told in that time."""
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
        """What was published to a file, whole lines only."""
        path = self.folder / name
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("\n")]
        return [message for message in found if message["kind"] == kind]

    def until(self, true: Callable[[], object], timeout_s: float = 20.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not true():
            assert time.monotonic() < end_s, f"did not come true: {self.errors()}"
            time.sleep(0.05)

    def stop(self, number: int, timeout_s: float = 20.0) -> float:
        """Send a signal and wait for the end. Returns how long that took, seconds."""
        began = time.monotonic()
        self.process.send_signal(number)
        self.process.wait(timeout_s)
        return time.monotonic() - began


def unended(events: list[dict]) -> set[str]:
    """The events that began and did not end."""
    began = {event["event_id"] for event in events if event["type"] == "new"}
    return began - {event["event_id"] for event in events if event["type"] == "end"}
