"""The daemon: startup, main loop, shutdown.

It reports to the service manager, reloads a changed configuration, lowers the load before something fails, and answers
`edge-app status`. Not here: processing a frame (pipeline/loop.py), recovery of a backend (inference/supervisor.py) or
of a camera (capture/thread.py), the degradation steps (pipeline/degradation.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from edge_app import __version__, pipeline
from edge_app.clock import SystemClock
from edge_app.config import Config
from edge_app.config.overrides import FILE as OVERRIDES
from edge_app.daemon import heap, mapped_files
from edge_app.daemon.commands import Commands
from edge_app.daemon.file_watch import FileWatch
from edge_app.daemon.health_file import HealthFile, failed_update, release_status
from edge_app.daemon.present_state import PresentState
from edge_app.daemon.signals import Signals
from edge_app.daemon.state_dir import make_private, private_umask
from edge_app.daemon.status_socket import StatusSocket, printable
from edge_app.daemon.systemd import Notifier
from edge_app.daemon.views import Views
from edge_app.errors import ConfigError, EdgeError, EndOfClip, foreign_exception
from edge_app.frame import Event, Frame, JsonValue
from edge_app.pipeline import degradation
from edge_app.pipeline.disk_space import DiskSpace
from edge_app.pipeline.sensors import BoardSensors, Reading, Sensors

_LOG = logging.getLogger(__name__)

_STEP_S = 0.25  # the longest that one step waits for a frame, and so the longest delay of a signal
_CHECK_EVERY_S = 1.0  # interval of the checks: configuration file, sensors, memory, status line
_DRAIN_S = 1.5  # for delivery at shutdown, which takes at most 3 s in total
_EXTEND_START_S = 30.0  # extension of the service manager's start timeout while there is no frame
_WARM_FRAMES = 50  # every stage and every head has run
_MIN_UPTIME_S = 30.0  # a restart for memory earlier than this would only repeat itself
_MEMORY_SHARE = 0.75  # of the memory that this process may use: the default limit
_LATENCY_WEIGHT = 0.1  # of a frame in the moving average

Outcome = Literal["stopped", "restart"]


def run(
    load: Callable[[], Config],
    *,
    max_frames: int | None = None,
    health_file: Path | None = None,
    release_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    sensors: Sensors | None = None,
) -> Outcome:
    """Run the pipeline until its clip ends, `max_frames` are processed, or SIGTERM or SIGINT arrives.

    load: reads the configuration, at startup and at every reload. health_file: report for the updater. release_file:
    the updater's state. Files that the process creates, such as state_dir and health_file, are private to its user,
    whatever the umask. Returns `restart` if a new process has to take over: the memory limit is exceeded, or a command.
    Raises EdgeError if the daemon cannot start or continue.
    """
    heap.share_one_arena()
    with Signals().handled() as signals, ExitStack() as stack:
        stack.enter_context(private_umask())
        notifier = Notifier(environ)
        stack.callback(notifier.close)
        health = stack.enter_context(HealthFile(health_file))
        config = load()
        make_private(config.device.state_dir)
        health.check_model(config)
        daemon = Daemon(load, pipeline.build(config), notifier, sensors or BoardSensors())
        stack.callback(daemon.close)
        daemon.running.about = release_status(release_file)
        daemon.report_unfit()
        if failed := failed_update(daemon.running.about):
            daemon.running.report_fault("update", failed)
        _LOG.info("running %s on %s", config.manifest.name, daemon.running.health().backend)
        frames = 0
        try:
            while not signals.stop_requested and not daemon.restarts and frames != max_frames:
                frame = daemon.step(reload=signals.reload_requested())
                health.update(daemon.running, frame)
                frames += frame is not None
        except EndOfClip:
            _LOG.info("the clip ended after %d frames", frames)
        notifier.stopping(f"restarting: {daemon.restarts}" if daemon.restarts else "stopping")
    return "restart" if daemon.restarts else "stopped"


class Daemon:
    """A running pipeline with its supervision: reload, degradation, memory, watchdog, status and views.

    min_uptime_s: no restart for memory before this uptime. Raises ConfigError if the page cannot be served.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        running: pipeline.Pipeline,
        notifier: Notifier,
        sensors: Sensors,
        *,
        min_uptime_s: float = _MIN_UPTIME_S,
    ) -> None:
        self.running = running
        self.memory_limit_exceeded = False
        self._min_uptime_s = min_uptime_s
        self._load = load
        self._notifier = notifier
        self._sensors = sensors
        self._clock = SystemClock()
        self._reading = Reading()
        self._disk = DiskSpace()
        self._state = PresentState()
        self._started_s = time.monotonic()
        self._next_check_s = self._next_ping_s = 0.0
        self._ready = False
        self._latency_s: float | None = None
        self._reload_error: str | None = None
        self._rejected_reloads = 0
        self._reloads = 0
        self._trimmed_at: object = None  # counters at the last _trim_memory
        self._stuck: str | None = None
        self._files = _watched_files(running.config)
        self._ladder = self._build_ladder()
        self._commands = Commands(running, self, time.monotonic)
        self.restart_requested = False
        self._clip_status: Callable[[], Mapping[str, JsonValue]] = dict  # until the views are open
        with ExitStack() as stack:
            stack.callback(running.close, _DRAIN_S)
            stack.callback(StatusSocket(running.config.device.state_dir, self.status).close)
            stack.callback(self._commands.close)
            self._views = Views(running, self.status, self._commands)
            self._clip_status = self._views.status
            stack.callback(self._views.close)
            self._stack = stack.pop_all()

    @property
    def restarts(self) -> str | None:
        """Why a new process has to take over, or None."""
        return "memory" if self.memory_limit_exceeded else "commanded" if self.restart_requested else None

    def step(self, *, reload: bool = False) -> Frame | None:
        """Run one pipeline step and the checks that are due. Returns the processed frame, or None if there was none.

        Raises EndOfClip, and EdgeError if only a new process can help.
        """
        frame = self.running.step(_STEP_S)
        self._state.update(self.running, frame, self._reading)
        now_s = time.monotonic()
        if frame is not None:
            self._record(frame)
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + _CHECK_EVERY_S
            for file in self._files:
                reload = file.changed() or reload
            self._check(now_s)
        reload = self._commands.run() or reload
        if reload:
            self.reload()
        if self._notifier.watchdog_s is not None and now_s >= self._next_ping_s:
            self._ping_watchdog(now_s, self._notifier.watchdog_s)
        return frame

    def reload(self) -> None:
        """Load and apply the configuration; if that fails, keep the old one and report the error."""
        self._notifier.reloading()
        self._reloads += 1
        old = self.running.config
        for file in self._files:
            file.mark_seen()
        try:
            config = self._load()
            if config.unfit and not old.unfit:
                raise ConfigError(*config.unfit)  # what is in effect fits: keep it until the next start
            make_private(config.device.state_dir)
            self.running.apply(self._commands.over(config))
        except Exception as exc:  # noqa: BLE001  (a mistake in a configuration must not end the daemon)
            self._reload_error = str(exc) if isinstance(exc, EdgeError) else foreign_exception(exc)
            self._rejected_reloads += 1
            _LOG.error("new configuration rejected, the old one stays in effect: %s", self._reload_error)
        else:
            self._reload_error = None
            self._commands.adopt(config)
            self.report_unfit()
            self._files = _watched_files(config)
            self._reopen_views(old)
            self._ladder = self._build_ladder()
            self.running.apply_rung(self._ladder.rung, "reconfigured")
            _LOG.info("the new configuration is in effect")
        self._notifier.ready(self._status_line())

    def report_unfit(self) -> None:
        """Report the fault `overrides` if overrides.yaml does not fit config.yaml, or its end."""
        unfit = self.running.config.unfit
        for problem in unfit:
            _LOG.error("not in effect: %s", problem)
        self.running.report_fault("overrides", {"error": unfit[0], "mistakes": len(unfit)} if unfit else None)

    def status(self) -> dict[str, JsonValue]:
        """The state that `edge-app status` and the page show. May be called from any thread."""
        reading = self._reading
        state: dict[str, JsonValue] = {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "config": os.path.abspath(self.running.config.path),
            "model": self.running.config.manifest.name,
            "tracked": None if self.running.config.track is None else self.running.config.track.head,
            "reload_error": self._reload_error,
            "rejected_reloads": self._rejected_reloads,
            "stuck": self._stuck,
            "resident_mb": _rounded(reading.resident_mb),
            "available_mb": _rounded(reading.available_mb),
            "temperature_c": _rounded(reading.temperature_c),
            "latency_s": None if self._latency_s is None else round(self._latency_s, 3),
            **self.running.status(),
            **self._clip_status(),
            **self._commands.status(),
        }
        return {name: printable(value) for name, value in state.items()}

    def apply(self, config: Config) -> None:
        """Switch to the configuration that commands have changed. Raises EdgeError; the old one then stays."""
        old = self.running.config
        self.running.apply(config)
        if (old.reuse, old.model) != (config.reuse, config.model):
            self._ladder = self._build_ladder()
            self.running.apply_rung(self._ladder.rung, "reconfigured")

    def restart(self) -> None:
        """Let a new process take over after this step."""
        self.restart_requested = True

    def request_snapshot(self, event: Event) -> None:
        """Store the next frame as the image of an event."""
        self._views.request_snapshot(event)

    def close(self) -> None:
        """End all events, deliver what can be delivered in time, release everything. Safe to call twice."""
        self._stack.close()

    def _record(self, frame: Frame) -> None:
        latency_s = (self._clock.monotonic_ns() - frame.captured_ns) * 1e-9
        if self._latency_s is not None:
            latency_s = (1 - _LATENCY_WEIGHT) * self._latency_s + _LATENCY_WEIGHT * latency_s
        self._latency_s = latency_s
        self._views.show(frame)
        if not self._ready:
            self._ready = True
            self._notifier.ready(self._status_line())

    def _check(self, now_s: float) -> None:
        self._reading = self._sensors.read()
        if self._ladder.update(self._reading, self._latency_s, now_s):
            _LOG.warning("load level: %s (%s)", self._ladder.rung.name, self._ladder.reason)
            self.running.apply_rung(self._ladder.rung, self._ladder.reason)
            self._latency_s = None  # measured at the previous level
        self._views.report()
        folder, problem = self.running.config.device.state_dir, self.running.stats().publish.problem
        self.running.report_fault("disk", self._disk.fault(folder, problem))
        self._trim_memory()
        self._check_memory_limit(now_s)
        if self._ready:
            self._notifier.status(self._status_line())
        elif self.running.source_off:  # there may be no frame for days
            self._ready = True
            self._notifier.ready(self._status_line())
        else:
            self._notifier.status(f"waiting for the first frame: {self.running.stats().capture.last_error or ''}")
            self._notifier.extend_start(_EXTEND_START_S)

    def _trim_memory(self) -> None:
        """Return free memory to the system after startup, after the first frames (which allocate most), and after a
        backend, camera or configuration was replaced.
        """
        stats = self.running.stats()
        warm = stats.frames >= _WARM_FRAMES
        counters = self._ready, warm, stats.rebuilt, stats.capture.reconnects, self._reloads
        if counters != self._trimmed_at:
            self._trimmed_at = counters
            heap.trim()
            mapped_files.release()

    def _check_memory_limit(self, now_s: float) -> None:
        """Request a restart if this process uses more memory than its limit."""
        reading, limit_mb = self._reading, self.running.config.degrade.restart_mb
        if limit_mb is None and reading.allowed_mb is not None:
            limit_mb = _MEMORY_SHARE * reading.allowed_mb
        if limit_mb is None or reading.resident_mb is None or now_s - self._started_s < self._min_uptime_s:
            return
        if reading.resident_mb > limit_mb:
            self.memory_limit_exceeded = True
            _LOG.error("memory: %.0f MB resident, limit %.0f MB; restarting", reading.resident_mb, limit_mb)
            sizes = {"resident_mb": round(reading.resident_mb, 1), "limit_mb": round(limit_mb, 1)}
            self.running.report_fault("memory", {**sizes, "does": "restart"})

    def _ping_watchdog(self, now_s: float, interval_s: float) -> None:
        """Ping the service manager's watchdog, unless there is no progress."""
        self._next_ping_s = now_s + interval_s / 2
        stuck = self.running.stuck()
        if stuck is None:
            self._notifier.ping()
        elif stuck != self._stuck:
            _LOG.error("no progress: %s", stuck)
        self._stuck = stuck

    def _reopen_views(self, old: Config) -> None:
        try:
            self._views.reopen(old)
        except Exception as exc:  # noqa: BLE001  (the camera runs on without the page)
            self._reload_error = str(exc) if isinstance(exc, EdgeError) else foreign_exception(exc)
            _LOG.error("%s", self._reload_error)

    def _status_line(self) -> str:
        stats, health = self.running.stats(), self.running.health()
        parts = [f"{stats.frames} frames", f"camera {health.source}", health.backend]
        if health.rung != degradation.FULL.name:
            parts.append(health.rung)
        parts += [f"{name}: {value.get('error', '')}" for name, value in health.faults.items() if name != "load"]
        if self._reload_error:
            parts.append(f"new configuration rejected: {self._reload_error}")
        return "; ".join(parts)

    def _build_ladder(self) -> degradation.Ladder:
        config = self.running.config
        priorities = {name: head.common.priority for name, head in config.heads.items()}
        rungs: tuple[degradation.Rung, ...] = (degradation.FULL,)
        if config.degrade.enabled:
            rungs = degradation.rungs(priorities, reuses=self.running.reuses)
        return degradation.Ladder(rungs, config.degrade)


def _watched_files(config: Config) -> list[FileWatch]:
    return [FileWatch(config.path), FileWatch(config.device.state_dir / OVERRIDES, optional=True)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
