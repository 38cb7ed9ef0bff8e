"""The run that test_daemon_soak.py checks: a daemon at full speed on a live camera, with random faults.

A separate process: memory of other tests would be measured with it.
`python -m tests.system.soak FOLDER FRAMES` finds config.yaml and mischief there, and prints what it saw as JSON.
Faults come at random (fixed seed).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import random
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from edge_app import config, daemon, pipeline
from edge_app.clock import SystemClock
from edge_app.daemon import heap
from edge_app.daemon.systemd import Notifier
from edge_app.pipeline.sensors import Reading
from tests import plugins
from tests.conftest import anonymous_bytes

MB = 1e6


class SteppingClock(SystemClock):
    """A clock whose wall time a test can step."""

    def __init__(self) -> None:
        super().__init__()
        self.offset_ns = 0

    def utc_ns(self) -> int:
        return super().utc_ns() + self.offset_ns


@dataclass
class Faults:
    """Random faults; `counts` has how often each occurred.

    lose_at: the frames at which the camera goes, the last one first.
    """

    folder: Path
    mischief: Path
    clock: SteppingClock
    subject: daemon.Daemon
    rng: random.Random
    lose_at: list[int]
    counts: dict[str, int] = field(default_factory=dict)
    bad_until: int = 0

    def strike(self, frames: int) -> None:
        if self.bad_until and time.monotonic_ns() >= self.bad_until:
            self._heal()
        if self.lose_at and frames >= self.lose_at[-1] and not self.bad_until:
            self.lose_at.pop()
            self._misbehave("no camera")
        elif self.rng.random() < 0.05:
            kind = self.rng.choice(["backend fails", "clock", "reload", "refused reload", "disk"])
            getattr(self, "_" + kind.replace(" ", "_"))()
            self.counts[kind] = self.counts.get(kind, 0) + 1

    def _backend_fails(self) -> None:
        self._misbehave("fail")

    def _misbehave(self, how: str) -> None:
        write(self.mischief, how)
        self.bad_until = time.monotonic_ns() + 50_000_000

    def _clock(self) -> None:
        self.clock.offset_ns = self.rng.choice([-1, 0, 1]) * 86_400 * 10**9

    def _reload(self) -> None:
        path = self.folder / "config.yaml"
        every = self.rng.choice(["0.05", "0.06", "0.07"])
        text = path.read_text(encoding="utf-8")
        start = text.index("results: ") + len("results: ")
        write(path, text[:start] + every + text[text.index(",", start) :])
        self.subject.reload()

    def _refused_reload(self) -> None:
        path = self.folder / "config.yaml"
        good = path.read_text(encoding="utf-8")
        write(path, good.replace("type: mqtt", "type: mqttt"))
        self.subject.reload()
        write(path, good)

    def _disk(self) -> None:
        """Fill it, or make room again."""
        filler = self.folder / "state/filler"
        if filler.exists():
            filler.unlink()
            return
        with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))

    def _heal(self) -> None:
        write(self.mischief, "good")
        self.bad_until = 0


def write(path: Path, text: str) -> None:
    fresh = path.with_suffix(".fresh")
    fresh.write_text(text, encoding="utf-8")
    fresh.replace(path)


def sizes() -> dict[str, float]:
    """Memory, descriptors and threads of this process; of the latter two the minimum of several samples."""
    gc.collect()
    looks = []
    for _ in range(10):
        looks.append((threading.active_count(), len(os.listdir("/proc/self/fd"))))
        time.sleep(0.005)
    threads, files = map(min, zip(*looks))
    return {"anonymous_mb": anonymous_bytes() / MB, "threads": threads, "files": files}


class Calm:
    def read(self) -> Reading:
        return Reading(temperature_c=40.0)


def soak(folder: Path, frames: int) -> dict[str, object]:
    """Run a number of frames. Returns counts, and sizes by frame number."""
    path = folder / "config.yaml"
    clock = SteppingClock()
    heap.share_one_arena()  # as daemon.run does
    running = pipeline.Pipeline(config.load(path), clock)
    subject = daemon.Daemon(lambda: config.load(path), running, Notifier({}), Calm())
    rng = random.Random(7)
    sixth = frames // 6  # camera losses are rarer than other faults: each one takes longer to recover from
    lose_at = [rng.randrange(sixth * i, sixth * (i + 1)) for i in reversed(range(6))]
    faults = Faults(folder, folder / "mischief", clock, subject, rng, lose_at)
    marks = [frames // 10, frames // 3, frames * 2 // 3, frames - 50]
    measured: dict[int, dict[str, float]] = {}
    stuck = 0
    try:
        while (done := running.stats().frames) < frames:
            faults.strike(done)
            turns_end_s = time.monotonic() + 0.1
            for _ in range(20):
                if time.monotonic() < turns_end_s:
                    subject.step()
            stuck += running.stuck() is not None
            if marks and done >= marks[0] and running.health().faults == {}:
                measured[marks.pop(0)] = sizes()
        stats = running.stats()
    finally:
        (folder / "state/filler").unlink(missing_ok=True)
        subject.close()
    mqtt = next(sink for sink in stats.publish.sinks if sink.name == "mqtt")
    counts = {**faults.counts, "camera lost": stats.capture.failures, "backend rebuilt": stats.rebuilt}
    return {"faults": counts, "measured": measured, "stuck": stuck, "retries": mqtt.failed}


if __name__ == "__main__":
    plugins.install()
    print(json.dumps(soak(Path(sys.argv[1]), int(sys.argv[2]))))
