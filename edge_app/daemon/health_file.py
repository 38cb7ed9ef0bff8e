"""What a release says of itself to the updater (firmware_bundle/updater), which keeps it or takes it back.

A JSON file, exchanged at once: `verdict` is `waiting`, `healthy` or `failed`, `reason` says for what. It is written
again every few seconds while frames go round, so that a supervisor without a watchdog sees a daemon that hangs.
Not here: what follows from it; the updater must not depend on what it replaces.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from edge_app.config import Config
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline.loop import Pipeline

_log = logging.getLogger(__name__)

FRAMES = 10
_EVERY_S = 2.0
_MAX_BYTES = 1 << 16
Verdict = Literal["waiting", "healthy", "failed"]


class Proof:
    """The health file of one run; a context manager, so that what ends the run is its reason too.

    path: None where no updater asks. config: `device.commit_sink` names the sink that must have acknowledged.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._frames = 0
        self._ran: set[str] = set()
        self._verdict: Verdict = "waiting"
        self._reason = "it is starting"
        self._next_write_s = 0.0
        self._writes = 0

    def __enter__(self) -> Proof:
        self._write()
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        if error is not None and self._verdict == "waiting":
            self._reason = f"{type(error).__name__}: {error}"
            self._write()

    def prove_model(self, config: Config) -> None:
        """Replay the golden vectors on the engine that will run; where they fail, so does the release."""
        if self._path is None:
            return
        from edge_app.inference import golden  # archives: 2 MB that a daemon without an updater does not need

        for result in golden.replay(config):
            if result.verdict == "fail":
                self._verdict, self._reason = "failed", f"golden: {result.text}"
                _log.error("this release has failed: %s", self._reason)
        self._write()

    def turn(self, running: Pipeline, frame: Frame | None) -> None:
        """Take one turn of the daemon's loop into account. frame: what came through, None where none did."""
        if self._path is None:
            return
        if frame is not None:
            self._frames += 1
            self._ran |= set(frame.heads or ())
        if self._verdict == "waiting":
            missing = self._missing(running)
            self._reason = ", ".join(missing)
            if not missing:
                self._verdict = "healthy"
                self._next_write_s = 0.0
        if time.monotonic() >= self._next_write_s:
            self._write()

    def _missing(self, running: Pipeline) -> list[str]:
        """What has not been seen yet."""
        missing = [] if self._frames >= FRAMES else [f"{self._frames} frames of {FRAMES}"]
        enabled = running.health().heads
        missing += [f"head '{name}' has not run" for name in enabled if enabled[name] and name not in self._ran]
        name = running.config.device.commit_sink
        sent = {sink.name: sink.sent for sink in running.stats().publish.sinks}
        if name and not sent.get(name):
            missing.append(f"sink '{name}' has acknowledged nothing")
        return missing

    def _write(self) -> None:
        if self._path is None:
            return
        self._next_write_s = time.monotonic() + _EVERY_S
        self._writes += 1  # so that the file differs from the last one, whatever the clock does
        report = {"verdict": self._verdict, "reason": self._reason, "writes": self._writes}
        fresh = self._path.with_name(self._path.name + ".tmp")
        try:
            fresh.write_text(json.dumps(report), encoding="ascii")
            os.replace(fresh, self._path)
        except OSError as exc:
            _log.error("health file: %s: %s", self._path, exc.strerror)


def release(state_file: Path | None) -> Mapping[str, JsonValue]:
    """For the heartbeat: which release the updater chose, and which one it took back and why; {} without an updater."""
    if state_file is None:
        return {}
    try:
        with state_file.open("rb") as file:
            state = json.loads(file.read(_MAX_BYTES))
        trial = state["trial"]
        running = trial["release"] if trial else state["good"]
        return {"release": {"running": running, "on_trial": bool(trial), "failed": state["failed"]}}
    except (OSError, ValueError, KeyError, TypeError) as exc:
        _log.warning("release file: %s: %s", state_file, exc)
        return {}
