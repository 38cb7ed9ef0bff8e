"""The daemon: start, prove itself, go round until told to stop, stop in order. Signals only set a flag.

It tells the service manager how it is, takes a new configuration without a restart, does less before it fails, and
answers `edge-app status`. Not here: what a turn does (pipeline.py), what heals a backend (engine.py) or a camera
(capture.py), how much less is done (ladder.py).
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Literal

from edge_app import __version__, pipeline
from edge_app.clock import SystemClock
from edge_app.config import Config
from edge_app.daemon import health_file as proofs
from edge_app.daemon import heap
from edge_app.daemon.snapshots import Snapshots
from edge_app.daemon.status_socket import ControlSocket
from edge_app.daemon.systemd import Notifier
from edge_app.errors import EdgeError, EndOfClip
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline import degradation as ladder
from edge_app.pipeline.sensors import BoardSensors, Reading, Sensors

if TYPE_CHECKING:
    from edge_app.web.server import Page

_log = logging.getLogger(__name__)

_TURN_S = 0.25  # the longest that a signal waits for a turn
_LOOK_S = 1.0  # between looks at the file, the sensors and the status line
_DRAIN_S = 1.5  # for what is delivered while stopping; with the rest below the 3 s that are promised
_START_S = 30.0  # by which the start may take longer while the camera is away
_SETTLED_S = 30.0  # before that a restart for want of memory would only repeat itself
_SHARE = 0.75  # of the memory that may be used, where no limit is configured

Outcome = Literal["stopped", "restart"]


class _Signals:
    """SIGTERM and SIGINT ask to stop, SIGHUP to reload. A second one to stop is obeyed at once."""

    def __init__(self) -> None:
        self.stop = False
        self.reloads = 0  # asked for so far: none is missed that comes while another is under way

    @contextmanager
    def caught(self) -> Iterator[_Signals]:
        """Handle the signals in here, and give them back behind it."""
        handlers = {signal.SIGTERM: self._ask_to_stop, signal.SIGINT: self._ask_to_stop, signal.SIGHUP: self._ask}
        previous = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            yield self
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _ask_to_stop(self, number: int, _frame: FrameType | None) -> None:
        if self.stop:
            os._exit(128 + number)  # what is accepted is on disk or will be made again
        self.stop = True

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.reloads += 1


def run(
    load: Callable[[], Config],
    *,
    max_frames: int | None = None,
    health_file: Path | None = None,
    release_file: Path | None = None,
    environ: Mapping[str, str] = os.environ,
    sensors: Sensors | None = None,
) -> Outcome:
    """Run the pipeline until its clip ends, `max_frames` have passed, or SIGTERM or SIGINT comes.

    load: reads the configuration, at the start and again where it changed. Returns `restart` where memory has grown
    beyond its limit and a new process is to go on. health_file, release_file: what is said to the updater, and what it
    says (proof.py). Raises EdgeError where it cannot start or go on.
    """
    heap.share_one_arena()
    with _Signals().caught() as signals, ExitStack() as stack:
        notifier = Notifier(environ)
        stack.callback(notifier.close)
        proof = stack.enter_context(proofs.Proof(health_file))
        config = load()
        proof.prove_model(config)
        daemon = Daemon(load, pipeline.build(config), notifier, sensors or BoardSensors())
        stack.callback(daemon.close)
        daemon.running.about = proofs.release(release_file)
        _log.info("running %s on %s", config.manifest.name, daemon.running.health().backend)
        try:
            frames = reloads = 0
            while not signals.stop and not daemon.outgrown and frames != max_frames:
                asked, reloads = reloads, signals.reloads
                frame = daemon.turn(reload=asked != reloads)
                proof.turn(daemon.running, frame)
                frames += frame is not None
        except EndOfClip:
            _log.info("the clip ended after %d frames", frames)
        notifier.stopping("restarting: memory" if daemon.outgrown else "stopping")
    return "restart" if daemon.outgrown else "stopped"


class Daemon:
    """A running pipeline and all that is looked after beside it, a turn at a time. outgrown: it is to be restarted.

    settled_s: before that much of its life it asks for no restart.
    """

    def __init__(
        self,
        load: Callable[[], Config],
        running: pipeline.Pipeline,
        notifier: Notifier,
        sensors: Sensors,
        *,
        settled_s: float = _SETTLED_S,
    ) -> None:
        self.running = running
        self.outgrown = False
        self._settled_s = settled_s
        self._load = load
        self._notifier = notifier
        self._sensors = sensors
        self._clock = SystemClock()
        self._reading = Reading()
        self._started_s = time.monotonic()
        self._next_look_s = self._next_ping_s = 0.0
        self._ready = False
        self._latency_s: float | None = None
        self._reload_error: str | None = None
        self._reloads = 0
        self._made: object = None  # how often what was made, when memory was given back last
        self._stuck: str | None = None
        self._watched_file = _FileWatch(running.config.path)
        self._ladder = self._make_ladder()
        self._stack = ExitStack()
        self._stack.callback(lambda: running.close(_DRAIN_S))
        state_dir = running.config.device.state_dir
        self._stack.callback(ControlSocket(state_dir, self.status).close)
        self._page: Page | None = None
        self._snapshots: Snapshots | None = None
        self._stack.callback(self._close_views)
        try:
            self._open_views()
        except EdgeError:
            self._stack.close()
            raise

    def turn(self, *, reload: bool = False) -> Frame | None:
        """Let the pipeline take a step, and look after everything. Returns the frame that went through, if one did.

        Raises EndOfClip, and EdgeError where only a new process helps.
        """
        frame = self.running.step(_TURN_S)
        now_s = time.monotonic()
        if frame is not None:
            self._note(frame)
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + _LOOK_S
            reload = self._watched_file.changed() or reload
            self._look(now_s)
        if reload:
            self.reload()
        if self._notifier.watchdog_s is not None and now_s >= self._next_ping_s:
            self._ping(now_s)
        return frame

    def reload(self) -> None:
        """Take the configuration as the file has it now; where it cannot be used the old one runs on."""
        self._notifier.reloading()
        self._reloads += 1
        old = self.running.config
        try:
            config = self._load()
            self.running.apply(config)
        except EdgeError as exc:
            self._reload_error = str(exc)
            _log.error("the new configuration is refused, the old one runs on: %s", exc)
        else:
            self._reload_error = None
            self._reopen_views(old)
            self._ladder = self._make_ladder()
            self.running.shed(self._ladder.rung, "reconfigured")
            _log.info("the new configuration is in effect")
        self._notifier.ready(self._status_line())

    def status(self) -> dict[str, JsonValue]:
        """What `edge-app status` shows; may be called by another thread."""
        reading = self._reading
        return {
            "version": __version__,
            "pid": os.getpid(),
            "uptime_s": round(time.monotonic() - self._started_s, 1),
            "config": str(self.running.config.path),
            "model": self.running.config.manifest.name,
            "tracked": None if self.running.config.track is None else self.running.config.track.head,
            "reload_error": self._reload_error,
            "stuck": self._stuck,
            "resident_mb": _rounded(reading.resident_mb),
            "available_mb": _rounded(reading.available_mb),
            "temperature_c": _rounded(reading.temperature_c),
            "latency_s": None if self._latency_s is None else round(self._latency_s, 3),
            **pipeline.status(self.running),
        }

    def close(self) -> None:
        """End all events, deliver what goes in time, release everything."""
        self._stack.close()

    def _open_views(self) -> None:
        """The page and the ring of snapshots, where they are configured. Raises ConfigError."""
        config = self.running.config
        if config.snapshots.enabled:
            self._snapshots = Snapshots(config.device.state_dir / "snapshots", config.snapshots)
        if config.web.enabled:
            from edge_app.web.server import Page, Subject

            labels = {name: head.labels for name, head in config.manifest.heads.items()}
            snapshots = self._snapshots
            self._page = Page(
                config.web,
                Subject(
                    labels,
                    self.status,
                    lambda: list(self.running.recent_events),
                    snapshots.taken if snapshots else frozenset,
                    snapshots.read if snapshots else lambda _: None,
                ),
            )

    def _close_views(self) -> None:
        page, snapshots, self._page, self._snapshots = self._page, self._snapshots, None, None
        if page is not None:
            page.close()
        if snapshots is not None:
            snapshots.close()

    def _reopen_views(self, old: Config) -> None:
        """Exchange page and snapshots where anything changed that they were built from; else viewers stay."""
        new = self.running.config
        if _views(old) != _views(new):
            self._close_views()
            try:
                self._open_views()
            except EdgeError as exc:  # the camera goes on without
                self._reload_error = str(exc)
                _log.error("%s", exc)

    def _note(self, frame: Frame) -> None:
        late_s = (self._clock.monotonic_ns() - frame.captured_ns) * 1e-9
        self._latency_s = late_s if self._latency_s is None else 0.9 * self._latency_s + 0.1 * late_s
        if self._snapshots is not None:
            self._snapshots.take(frame, frame.events)
        if self._page is not None:
            self._page.offer(frame, self.running.overlay)
        if not self._ready:
            self._ready = True
            self._notifier.ready(self._status_line())

    def _look(self, now_s: float) -> None:
        self._reading = self._sensors.read()
        if self._ladder.update(self._reading, self._latency_s, now_s):
            _log.warning("now doing: %s (%s)", self._ladder.rung.name, self._ladder.reason)
            self.running.shed(self._ladder.rung, self._ladder.reason)
            self._latency_s = None  # what was measured before says nothing of now
        self._give_memory_back()
        self._mind_memory(now_s)
        if self._ready:
            self._notifier.status(self._status_line())
        else:
            self._notifier.status(f"waiting for the first frame: {self.running.stats().capture.last_error or ''}")
            self._notifier.extend_start(_START_S)

    def _give_memory_back(self) -> None:
        """Return what the start, or a backend, camera or configuration that was exchanged, left behind."""
        stats = self.running.stats()
        made = self._ready, stats.rebuilt, stats.capture.reconnects, self._reloads
        if made != self._made:
            self._made = made
            heap.give_back()

    def _mind_memory(self, now_s: float) -> None:
        """Ask for a restart where this process has grown beyond its limit."""
        reading, limit_mb = self._reading, self.running.config.degrade.restart_mb
        if limit_mb is None and reading.allowed_mb is not None:
            limit_mb = _SHARE * reading.allowed_mb
        if limit_mb is None or reading.resident_mb is None or now_s - self._started_s < self._settled_s:
            return
        if reading.resident_mb > limit_mb:
            self.outgrown = True
            _log.error("memory: %.0f MB resident, limit %.0f: restarting in order", reading.resident_mb, limit_mb)
            told: dict[str, JsonValue] = {"resident_mb": round(reading.resident_mb, 1), "limit_mb": round(limit_mb, 1)}
            self.running.report("memory", {**told, "does": "restart"})

    def _ping(self, now_s: float) -> None:
        """Tell the service manager that there is progress; keep silent where there is none."""
        assert self._notifier.watchdog_s is not None
        self._next_ping_s = now_s + self._notifier.watchdog_s / 2
        stuck = self.running.stuck()
        if stuck is None:
            self._notifier.ping()
        elif stuck != self._stuck:
            _log.error("no progress: %s", stuck)
        self._stuck = stuck

    def _status_line(self) -> str:
        stats, health = self.running.stats(), self.running.health()
        parts = [f"{stats.frames} frames", f"camera {health.source}", health.backend]
        if health.rung != ladder.FULL.name:
            parts.append(health.rung)
        parts += [f"{name}: {value.get('error', '')}" for name, value in health.faults.items() if name != "load"]
        if self._reload_error:
            parts.append(f"new configuration refused: {self._reload_error}")
        return "; ".join(parts)

    def _make_ladder(self) -> ladder.Ladder:
        config = self.running.config
        priorities = {name: head.common.priority for name, head in config.heads.items()}
        way = ladder.rungs(priorities, reuses=self.running.reuses) if config.degrade.enabled else (ladder.FULL,)
        return ladder.Ladder(way, config.degrade)


def _views(config: Config) -> object:
    """What page and snapshots are built from."""
    return config.web, config.snapshots, config.device, config.manifest


class _FileWatch:
    """Notices that a file was replaced or rewritten, once it has stood still between two looks."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known = self._seen = _identity(path)

    def changed(self) -> bool:
        before, self._seen = self._seen, _identity(self._path)
        if self._seen == self._known or self._seen is None or self._seen != before:
            return False
        self._known = self._seen
        return True


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 1)
