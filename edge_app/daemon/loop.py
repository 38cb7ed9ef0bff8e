"""The daemon: startup, main loop, shutdown.

It reports to the service manager, reloads a changed configuration, lowers the load before something fails, and answers
`edge-app status`. Not here: processing a frame (pipeline/loop.py), recovery of a backend (inference/supervisor.py) or
of a camera (capture/thread.py), the degradation steps (pipeline/degradation.py).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from edge_app import __version__, pipeline
from edge_app.config import Config
from edge_app.config.overrides import FILE as OVERRIDES
from edge_app.daemon import heap, mapped_files
from edge_app.daemon.file_watch import FileWatch
from edge_app.daemon.health_file import HealthFile, failed_update, release_status
from edge_app.daemon.services import Services
from edge_app.daemon.signals import Signals
from edge_app.daemon.state_dir import make_private, private_umask
from edge_app.daemon.status_line import status_line
from edge_app.daemon.status_socket import StatusSocket, printable
from edge_app.daemon.systemd import Notifier
from edge_app.daemon.views import Views
from edge_app.errors import ConfigError, EdgeError, EndOfClip, foreign_exception
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline.cameras import Cameras, OneCamera
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
        running = pipeline.build_cameras(config) if config.cameras else pipeline.build(config)
        daemon = Daemon(load, running, notifier, sensors or BoardSensors())
        stack.callback(daemon.close)
        daemon.set_release(release_status(release_file))
        daemon.report_unfit()
        _LOG.info("running %s on %s", config.manifest.name, daemon.running.health().backend)
        frames = 0
        try:
            while not signals.stop_requested and not daemon.restarts and frames != max_frames:
                frame = daemon.step(reload=signals.reload_requested())
                health.update(daemon.pipelines, frame)
                frames += frame is not None
        except EndOfClip:
            _LOG.info("the clip ended after %d frames", frames)
        notifier.stopping(f"restarting: {daemon.restarts}" if daemon.restarts else "stopping")
    return "restart" if daemon.restarts else "stopped"


class Daemon:
    """The running cameras with their supervision: reload, degradation, memory, watchdog, status and views.

    running: the first camera, under whose name faults of the device are published.
    min_uptime_s: no restart for memory before this uptime. Raises ConfigError if the page cannot be served.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        running: pipeline.Pipeline | Cameras,
        notifier: Notifier,
        sensors: Sensors,
        *,
        min_uptime_s: float = _MIN_UPTIME_S,
    ) -> None:
        self._cameras = running if isinstance(running, Cameras) else OneCamera(running)
        self.running = next(iter(self._cameras.pipelines.values()))
        self.memory_limit_exceeded = False
        self._min_uptime_s = min_uptime_s
        self._load = load
        self._notifier = notifier
        self._sensors = sensors
        self._about: Mapping[str, JsonValue] = {}
        self._reading = Reading()
        self._disk = DiskSpace()
        self._started_s = time.monotonic()
        self._next_check_s = self._next_ping_s = 0.0
        self._ready = False
        self._reload_error: str | None = None
        self._rejected_reloads = 0
        self._reloads = 0
        self._trimmed_at: object = None  # counters at the last _trim_memory
        self._stuck: str | None = None
        self._files = _watched_files(self.running.config)
        self.restart_requested = False
        with ExitStack() as stack:
            stack.callback(self._cameras.close, _DRAIN_S)
            self._services = Services(self._cameras.pipelines, self)
            stack.callback(self._services.close)
            stack.callback(StatusSocket(self.running.config.device.state_dir, self.status).close)
            self._views = Views(self._services.by_name, self.status)
            stack.callback(self._views.close)
            self._stack = stack.pop_all()

    @property
    def pipelines(self) -> Collection[pipeline.Pipeline]:
        """The pipelines of all cameras."""
        return self._cameras.pipelines.values()

    @property
    def restarts(self) -> str | None:
        """Why a new process has to take over, or None."""
        return "memory" if self.memory_limit_exceeded else "commanded" if self.restart_requested else None

    def step(self, *, reload: bool = False) -> Frame | None:
        """Run one pipeline step and the checks that are due. Returns the processed frame, or None if there was none.

        Raises EndOfClip, and EdgeError if only a new process can help.
        """
        running, frame = self._cameras.step(_STEP_S) or (None, None)
        now_s = time.monotonic()
        self._services.update(running, frame, self._reading)
        if running is not None and frame is not None:
            self._views.show(running, frame)
            if not self._ready:
                self._ready = True
                self._notifier.ready(self._status_line())
        if now_s >= self._next_check_s:
            self._next_check_s = now_s + _CHECK_EVERY_S
            for file in self._files:
                reload = file.changed() or reload
            self._check(now_s)
        reload = self._services.run_commands() or reload
        if reload:
            self.reload()
        if self._notifier.watchdog_s is not None and now_s >= self._next_ping_s:
            self._ping_watchdog(now_s, self._notifier.watchdog_s)
        return frame

    def reload(self) -> None:
        """Load and apply the configuration; if that fails, keep the old one and report the error."""
        self._notifier.reloading()
        self._reloads += 1
        old = self._services.configs()
        for file in self._files:
            file.mark_seen()
        try:
            config = self._load()
            if config.unfit and not self.running.config.unfit:
                raise ConfigError(*config.unfit)  # what is in effect fits: keep it until the next start
            make_private(config.device.state_dir)
            if bool(config.cameras) != isinstance(self._cameras, Cameras):
                _LOG.warning("from one camera to several, or back: a new process takes over")
                self.restart()
                return
            self._cameras.apply(self._services.with_commands(config))
        except Exception as exc:  # noqa: BLE001  (a mistake in a configuration must not end the daemon)
            self._reload_error = str(exc) if isinstance(exc, EdgeError) else foreign_exception(exc)
            self._rejected_reloads += 1
            _LOG.error("new configuration rejected, the old one stays in effect: %s", self._reload_error)
        else:
            self._reload_error = None
            self.running = next(iter(self.pipelines))
            self._services.adopt(config, self._cameras.pipelines)
            for each in self.pipelines:
                each.about = self._about
            self._reopen_views(old)
            self.report_unfit()
            self._files = _watched_files(config)
            _LOG.info("the new configuration is in effect")
        self._notifier.ready(self._status_line())

    def set_release(self, about: Mapping[str, JsonValue]) -> None:
        """What heartbeats say about the installed release: the result of `release_status`."""
        self._about = about
        for each in self.pipelines:
            each.about = about
        if failed := failed_update(about):
            self.running.report_fault("update", failed)

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
            **self._services.first.about(),
            "reload_error": self._reload_error,
            "rejected_reloads": self._rejected_reloads,
            "stuck": self._stuck,
            "resident_mb": _rounded(reading.resident_mb),
            "available_mb": _rounded(reading.available_mb),
            "temperature_c": _rounded(reading.temperature_c),
            **self._services.first.status(),
        }
        if isinstance(self._cameras, Cameras):
            state["cameras"] = self._services.status()
        return {name: printable(value) for name, value in state.items()}

    def restart(self) -> None:
        """Let a new process take over after this step."""
        self.restart_requested = True

    def close(self) -> None:
        """End all events, deliver what can be delivered in time, release everything. Safe to call twice."""
        self._stack.close()

    def _check(self, now_s: float) -> None:
        self._reading = self._sensors.read()
        self._services.check(self._reading, now_s)
        folder, problem = self.running.config.device.state_dir, self.running.stats().publish.problem
        self.running.report_fault("disk", self._disk.fault(folder, problem))
        self._trim_memory()
        self._check_memory_limit(now_s)
        if self._ready:
            self._notifier.status(self._status_line())
        elif all(each.source_off for each in self.pipelines):  # there may be no frame for days
            self._ready = True
            self._notifier.ready(self._status_line())
        else:
            self._notifier.status(f"waiting for the first frame: {self.running.stats().capture.last_error or ''}")
            self._notifier.extend_start(_EXTEND_START_S)

    def _trim_memory(self) -> None:
        """Return free memory to the system after startup, after the first frames (which allocate most), and after a
        backend, camera or configuration was replaced.
        """
        stats = [each.stats() for each in self.pipelines]
        replaced = [(each.frames >= _WARM_FRAMES, each.rebuilt, each.capture.reconnects) for each in stats]
        counters = self._ready, replaced, self._reloads
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
        stuck = self._cameras.stuck()
        if stuck is None:
            self._notifier.ping()
        elif stuck != self._stuck:
            _LOG.error("no progress: %s", stuck)
        self._stuck = stuck

    def _reopen_views(self, old: Mapping[str, Config]) -> None:
        """old: the configurations before, by camera."""
        try:
            for name, service in self._services.by_name.items():
                service.recordings.reopen(old.get(name, service.running.config))
            self._views.reopen(old, self._services.by_name)
        except Exception as exc:  # noqa: BLE001  (the camera runs on without the page)
            self._reload_error = str(exc) if isinstance(exc, EdgeError) else foreign_exception(exc)
            _LOG.error("%s", self._reload_error)

    def _status_line(self) -> str:
        return status_line(self.pipelines, self._reload_error)


def _watched_files(config: Config) -> list[FileWatch]:
    return [FileWatch(config.path), FileWatch(config.device.state_dir / OVERRIDES, optional=True)]


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
