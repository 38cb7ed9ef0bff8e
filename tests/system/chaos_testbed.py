"""The daemon of a chaos run and its peers, in a temporary folder. Not here: the faults (chaos.py)."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.conftest import PROJECT, anonymous_bytes
from tests.running import free_port
from tests.system import chaos_peers
from tests.system.chaos_judge import Arrivals, History
from tests.system.test_daemon_soak import tiny_model

SETTLE_S = 120.0  # a sink's backoff after a long fault
WINDOWS = {"jsonl": 500, "mqtt": 100, "http": 20}  # messages in flight
CONFIG = """
device: {id: cam, state_dir: STATE}
source: SOURCE
model: {path: MODEL, backend: mischief, deadline_s: 2}
heads: {scene: {}}
rules: [{name: camera, type: scene, head: scene, ok: good, after_s: 0, clear_s: 0, min_score: 0}]
publish: {results: all, status_every_s: 1}
outbox: {max_mb: 1, max_memory_mb: 0.05}
web: {enabled: true, port: PAGE}
sinks:
  - {type: jsonl, path: OUT, max_mb: null}
  - {type: mqtt, host: 127.0.0.1, port: MQTT, ack_timeout_s: 2}
  - {type: http, url: "http://127.0.0.1:HTTP/", timeout_s: 2, batch: 20}
"""
SYNTHETIC = "{type: synthetic, width: 64, height: 48, fps: 50, live: true, noise: 1}"
RTSP = "{type: rtsp, connect: retry, url: 'URL', open_timeout_s: 3, read_timeout_s: 1, stale_after_s: 1}"


def now_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


@dataclass
class Testbed:
    """The daemon and its peers, in a temporary folder."""

    folder: Path
    rng: random.Random
    has_disk: bool
    page: int = field(default_factory=free_port)
    history: History = field(default_factory=History)
    sinks: dict[str, Arrivals] = field(default_factory=lambda: {name: Arrivals() for name in WINDOWS})
    process: subprocess.Popen[bytes] | None = None
    died: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.http = chaos_peers.HttpServer(self.sinks["http"].add)
        self.broker = chaos_peers.Broker(self.folder, persistent=True)
        self.config, self.mischief, self.clock = (self.folder / name for name in ("config.yaml", "mischief", "clock"))
        self.clock.write_text("0", encoding="ascii")
        self.mischief.write_text("good", encoding="ascii")
        tiny_model(self.folder / "model")
        self.camera = chaos_peers.Camera() if chaos_peers.has_rtsp_server() else None
        source = SYNTHETIC if self.camera is None else RTSP.replace("URL", self.camera.url)
        names = {"SOURCE": source, "STATE": self.folder / "state", "MODEL": self.folder / "model", "OUT": self.recorded}
        text = CONFIG
        for name, value in (names | {"MQTT": self.broker.port, "HTTP": self.http.port, "PAGE": self.page}).items():
            text = text.replace(name, str(value))
        self.good_config = text.encode()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Run the daemon and its peers."""
        if self.camera is not None:
            self.camera.start()
        self.broker.start()
        subscriber = chaos_peers.Subscriber(self.broker.port, self.sinks["mqtt"].add)
        self.start()
        try:
            yield
        finally:
            if self.process is not None:
                self.process.kill()
                self.process.wait()
            subscriber.close()
            self.broker.thaw()
            self.broker.stop()
            self.http.close()
            if self.camera is not None:
                self.camera.stop()

    @property
    def recorded(self) -> Path:
        return self.folder / "out.jsonl"

    def start(self) -> None:
        self.write(self.config, self.good_config)
        command = [sys.executable, "-m", "tests.system.chaos_daemon", str(self.config), str(self.clock)]
        environ = {**os.environ, "MISCHIEF": str(self.mischief), "PYTHONPATH": str(PROJECT)}
        self.history.starts.append(now_s())
        with (self.folder / "stderr").open("ab") as errors:
            self.process = subprocess.Popen(command, cwd=PROJECT, env=environ, stderr=errors)

    def check_alive(self) -> None:
        """Restart a daemon that ended by itself, and count that."""
        if self.process is not None and (code := self.process.poll()) is not None:
            tail = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")[-3000:]
            self.died.append(f"exit code {code}: {tail}")
            self.history.kills.append(now_s())
            self.start()

    def end(self, number: int) -> None:
        assert self.process is not None
        if number == signal.SIGKILL:
            self.history.kills.append(now_s())
        self.process.send_signal(number)
        self.process.wait(20)
        self.process = None

    @staticmethod
    def write(path: Path, data: bytes) -> None:
        fresh = path.with_suffix(".fresh")
        fresh.write_bytes(data)
        fresh.replace(path)

    def reload(self, data: bytes) -> None:
        self.write(self.config, data)
        if self.process is not None and self.recorded.exists():
            self.process.send_signal(signal.SIGHUP)

    def is_publishing(self) -> bool:
        """Whether the daemon has published something since its start."""
        with contextlib.suppress(OSError):
            started = time.time() - (now_s() - self.history.starts[-1])
            return self.process is not None and self.recorded.stat().st_mtime > started
        return False

    def record(self) -> None:
        self.sinks["jsonl"].__init__()
        for line in self.recorded.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                self.sinks["jsonl"].add(line)

    def settle(self, timeout_s: float = SETTLE_S) -> bool:
        """Wait until every sink has what is older than 3 s, and the camera delivers. Returns whether that happened."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            time.sleep(0.5)
            self.check_alive()
            if not self.is_publishing():
                continue
            self.record()
            recent = now_s() - 3
            old = {id_ for id_, (_, at_s) in self.sinks["jsonl"].made.items() if at_s < recent}
            delivers = any(at_s > recent and kind == "result" for kind, at_s in self.sinks["jsonl"].made.values())
            tail = set(list(dict.fromkeys(self.sinks["jsonl"].order))[-200:]) & old
            if delivers and tail and all(tail <= set(arrivals.order[-5000:]) for arrivals in self.sinks.values()):
                return True
        return False

    def sizes(self) -> dict[str, float]:
        """Anonymous memory, the least of several samples; descriptors and threads, while the camera delivers.

        A camera that reconnects, or a connection that is made, changes the counts: measured again, at most five times.
        """
        for _ in range(5):
            sizes, steady = self._sample()
            if steady:
                break
            self.settle()
        return sizes

    def _sample(self) -> tuple[dict[str, float], bool]:
        """Three seconds of samples: the least memory and the most frequent counts.

        Returns also whether 90 % have these counts, and a result was made in each second.
        """
        assert self.process is not None
        proc, began_s = Path(f"/proc/{self.process.pid}"), now_s()
        memory, counts = [], Counter[tuple[int, int]]()
        for _ in range(60):
            memory.append(anonymous_bytes(self.process.pid) / 1e6)
            counts[len(os.listdir(proc / "fd")), len(os.listdir(proc / "task"))] += 1
            time.sleep(0.05)
        self.record()
        made = {int(at_s - began_s) for kind, at_s in self.sinks["jsonl"].made.values() if kind == "result"}
        (files, threads), times = counts.most_common(1)[0]
        return {"anonymous_mb": min(memory), "files": files, "threads": threads}, times >= 54 and made >= {0, 1, 2}

    def open_files(self) -> Counter[str]:
        """The daemon's open files; of sockets and pipes only the kind."""
        assert self.process is not None
        found: Counter[str] = Counter()
        for link in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                found[os.readlink(link).partition(":[")[0]] += 1
        return found

    def warnings(self) -> list[str]:
        """The lines of the log that report losses."""
        text = (self.folder / "stderr").read_text(encoding="utf-8", errors="replace")
        return [line for line in text.splitlines() if "lost:" in line or "Traceback" in line or "damaged" in line]

    def unreported_gap(self) -> dict:
        """The gap that waits on disk for its turn: one is published at most once a minute."""
        with contextlib.closing(sqlite3.connect(self.folder / "state/outbox.db")) as db:
            row = db.execute("SELECT tally FROM gap").fetchone()
        return json.loads(row[0]) if row and row[0] else {}


@contextlib.contextmanager
def small_disk(folder: Path) -> Iterator[bool]:
    """Mount 3 MB at `folder`, if this is root. Yields whether that worked."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "edge-app-test", str(folder)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True, check=False).returncode == 0
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)
