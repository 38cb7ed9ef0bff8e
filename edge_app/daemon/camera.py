"""What the daemon does for one camera: commands, present state, load level, snapshots, clips, its part of the status.

Not here: what it does once for all of them (loop.py).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Protocol

from edge_app.clock import SystemClock
from edge_app.config import Config
from edge_app.daemon.commands import Commands
from edge_app.daemon.present_state import PresentState
from edge_app.daemon.recordings import Recordings
from edge_app.frame import Event, Frame, JsonValue
from edge_app.pipeline import Pipeline, degradation
from edge_app.pipeline.sensors import Reading

_LOG = logging.getLogger(__name__)
_LATENCY_WEIGHT = 0.1  # of a frame in the moving average


class Process(Protocol):
    """What a camera asks of the process."""

    def restart(self) -> None:
        """Let a new process take over after this step."""
        ...


class CameraService:
    """One running camera. latency_s: from capture to results, moving average; None: not measured yet."""

    def __init__(self, running: Pipeline, process: Process) -> None:
        self.running = running
        self.latency_s: float | None = None
        self._process = process
        self._clock = SystemClock()
        self._state = PresentState()
        self._ladder = self._build_ladder()
        self.commands = Commands(running, self, time.monotonic)
        self.recordings = Recordings(running)

    def update(self, frame: Frame | None, reading: Reading) -> None:
        """After a step of the main loop. frame: of this camera, if one was processed."""
        self._state.update(self.running, frame, reading)
        if frame is None:
            return
        latency_s = (self._clock.monotonic_ns() - frame.captured_ns) * 1e-9
        if self.latency_s is not None:
            latency_s = (1 - _LATENCY_WEIGHT) * self.latency_s + _LATENCY_WEIGHT * latency_s
        self.latency_s = latency_s
        self.recordings.submit(frame)

    def check(self, reading: Reading, now_s: float) -> None:
        """Lower or raise the load, and report new clips."""
        if self._ladder.update(reading, self.latency_s, now_s):
            of = f"camera '{self.running.config.camera}': " if self.running.config.several else ""
            _LOG.warning("%sload level: %s (%s)", of, self._ladder.rung.name, self._ladder.reason)
            self.running.apply_rung(self._ladder.rung, self._ladder.reason)
            self.latency_s = None  # measured at the previous level
        self.recordings.report()

    def reconfigured(self) -> None:
        """The files were loaded again; their configuration is in effect. Not here: `recordings`."""
        self._ladder = self._build_ladder()
        self.running.apply_rung(self._ladder.rung, "reconfigured")

    def about(self) -> dict[str, JsonValue]:
        """The fields of the daemon's state about this camera. For any thread."""
        config = self.running.config
        return {
            "model": config.manifest.name,
            "tracked": None if config.track is None else config.track.head,
            "latency_s": None if self.latency_s is None else round(self.latency_s, 3),
        }

    def status(self) -> Mapping[str, JsonValue]:
        """Further fields of the daemon's state, about progress and health. For any thread."""
        return {**self.running.status(), **self.recordings.status(), **self.commands.status()}

    def close(self) -> None:
        """Safe to call twice. Not here: closing the pipeline."""
        self.recordings.close()
        self.commands.close()

    # For its commands.

    def apply(self, config: Config) -> None:
        """Switch to the configuration that commands have changed. Raises EdgeError; the old one then stays."""
        old = self.running.config
        self.running.apply(config)
        if (old.reuse, old.model) != (config.reuse, config.model):
            self._ladder = self._build_ladder()
            self.running.apply_rung(self._ladder.rung, "reconfigured")

    def restart(self) -> None:
        """Let a new process take over."""
        self._process.restart()

    def request_snapshot(self, event: Event) -> None:
        """Store the next frame as the image of an event."""
        self.recordings.request_snapshot(event)

    def _build_ladder(self) -> degradation.Ladder:
        config = self.running.config
        priorities = {name: head.common.priority for name, head in config.heads.items()}
        rungs: tuple[degradation.Rung, ...] = (degradation.FULL,)
        if config.degrade.enabled:
            rungs = degradation.rungs(priorities, reuses=self.running.reuses)
        return degradation.Ladder(rungs, config.degrade)
