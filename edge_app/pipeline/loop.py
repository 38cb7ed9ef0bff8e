"""build(config) -> Pipeline: the one loop through which every frame goes.

    capture ──► inference ──► rules ──► publish
    (thread)    (thread)      (the caller's thread; a worker a sink behind it)

While a frame goes through rules and is published, the next one is already in inference, and the one after it is being
decoded. A replay takes the same stages on one thread. Stages run in frame order. A lost camera, backend or head is an
event, and the rest goes on.
Not here: signals, watchdog, reload on a changed file (daemon.py), how a backend is built anew (engine.py).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass

import cv2

from edge_app.capture.thread import CaptureStats
from edge_app.clock import ClipClock, Clock, SystemClock
from edge_app.config import Config
from edge_app.errors import EdgeError, EndOfClip
from edge_app.frame import Event, Frame, JsonValue
from edge_app.inference.stage import Inference
from edge_app.inference.supervisor import InferenceSupervisor
from edge_app.messages import Stamp
from edge_app.pipeline.build import (
    build_inference,
    build_publisher,
    build_rules,
    build_source,
    build_tracker,
    labels_of,
)
from edge_app.pipeline.degradation import FULL, Rung
from edge_app.pipeline.faults import Faults
from edge_app.pipeline.rule_stage import RuleStage
from edge_app.pipeline.timing import StageStats, StageTimer
from edge_app.publish.publisher import PublishStats
from edge_app.rules import Moment, Overlay

_RECENT_EVENTS = 200
_RELOAD_DRAIN_S = 0.5
_LOST = ("lost", "frozen")


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened so far. stages: by name, in pipeline order. skipped: frames left out to do less.

    rebuilt: times that the backend was built anew.
    """

    frames: int
    skipped: int
    rebuilt: int
    capture: CaptureStats
    stages: Mapping[str, StageStats]
    publish: PublishStats


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the camera sees and the model runs. heads, rules: by name, whether it is switched on.

    faults: what is wrong now (faults.py). rung: how much is done (ladder.py).
    """

    source: str
    backend: str
    heads: Mapping[str, bool]
    rules: Mapping[str, bool]
    last_frame_ns: int | None
    faults: Mapping[str, Mapping[str, JsonValue]]
    rung: str


def build(config: Config, *, replay: bool = False) -> Pipeline:
    """Set up everything that the configuration names, or raise EdgeError saying what cannot be.

    replay: every frame of a clip, in order, as fast as it goes, on the clip's own clock, results for every frame.
    """
    cv2.setNumThreads(1)  # frames are small; a second OpenCV thread would fight the engine for its core
    if hasattr(cv2, "ipp"):
        cv2.ipp.setUseIPP(False)  # behind a decoder it resizes a picture a fifth slower than OpenCV's own code
    return Pipeline(config, ClipClock() if replay else SystemClock(), replay=replay)


class Pipeline:
    """The running whole. `step` until EndOfClip; `close` releases everything, in reverse order.

    about: what the heartbeat tells besides, of the release that runs.
    """

    def __init__(self, config: Config, clock: Clock, *, replay: bool = False) -> None:
        self.config = config
        self._clock = clock
        self._replay = replay
        self._frames = 0
        self._last_frame_ns: int | None = None
        self._last_utc_ns = 0
        self.about: Mapping[str, JsonValue] = {}
        self._told_lost = False
        self._next_status_ns = 0
        self._ended: Exception | None = None
        self._rung = FULL
        self._offered = self._skipped = 0
        self._faults = Faults()
        self.recent_events: deque[Event] = deque(maxlen=_RECENT_EVENTS)
        self._timers = {name: StageTimer() for name in ("wait", "inference", "rules", "publish")}
        self._tracker = build_tracker(config)
        self._rules = RuleStage(build_rules(config))
        with ExitStack() as stack:
            deadline_s = None if replay else config.model.deadline_s
            self._engine = stack.enter_context(
                closing(
                    InferenceSupervisor(
                        lambda: build_inference(config, replay=self._replay),
                        self._timers["inference"].timed,
                        deadline_s,
                    )
                )
            )
            self._publisher = stack.enter_context(closing(build_publisher(config, self._clock, replay=self._replay)))
            self._capture = build_source(config, self._clock, replay=self._replay)
            stack.pop_all()  # all is open: from here on close() releases it

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def step(self, timeout_s: float = 1.0) -> Frame | None:
        """Take one frame through every stage. Returns it, or None where none came in time.

        Raises EndOfClip behind a clip's last frame, EdgeError where a stage cannot go on.
        """
        if not self._engine.busy:
            self._timers["wait"].timed(self._read_ahead, timeout_s)
        frame = self._engine.result(timeout_s) if self._engine.busy else None
        self._note_faults()
        if frame is None:
            self._heartbeat(self._clock.monotonic_ns(), self._clock.utc_ns())
            return None
        if not self._replay:
            self._read_ahead(0)  # the next inference runs beside this frame's publishing
        return self._finish(frame)

    def apply(self, config: Config) -> None:
        """Exchange the configuration at a frame boundary; only what changed is built anew.

        Raises EdgeError where the new one cannot be built; the old one then runs on.
        """
        frame = self._engine.settle()
        if frame is not None:
            self._finish(frame)
        old = self.config
        rules = build_rules(config)  # raises here, where nothing has changed yet
        model_changed = _model(old) != _model(config)
        with ExitStack() as undo:
            if model_changed:
                inference = undo.enter_context(closing(build_inference(config, replay=self._replay)))
            if model_changed or _upstream(old) != _upstream(config):
                self._reopen_publisher(config)
                undo.callback(self._reopen_publisher, old)
            if old.source != config.source:
                self._reopen_source(config)
            undo.pop_all()
        if model_changed:
            deadline_s = None if self._replay else config.model.deadline_s
            self._engine.replace(self._opener(config), inference, deadline_s)
            self._engine.shed(self._rung.without, ease_reuse=self._rung.ease_reuse)
        if old.track != config.track or labels_of(old) != labels_of(config):
            self._tracker = build_tracker(config)
        self._publish_events(self._rules.apply(rules))
        self.config = config

    def shed(self, rung: Rung, reason: str) -> None:
        """Do as much as a rung of the ladder says, from the next frame on, and tell of it as an event."""
        self._rung = rung
        self._engine.shed(rung.without, ease_reuse=rung.ease_reuse)
        self.report("load", None if rung == FULL else {"does": rung.name, "reason": reason})

    def report(self, fault: str, value: Mapping[str, JsonValue] | None) -> None:
        """Publish how a fault of the runtime stands now, where that is new; None: there is none."""
        self._publish_events(self._faults.note(fault, value, Moment(self._clock.monotonic_ns(), self._clock.utc_ns())))

    def stuck(self) -> str | None:
        """What has made no progress for too long, or None. A lost camera or upstream is none: it is retried."""
        return self._engine.stuck() or self._publisher.stuck()

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Switch a head or a rule on or off from the next frame on. Raises KeyError where there is none so named."""
        if name in self._rules.enabled():
            self._publish_events(self._rules.set_enabled(name, enabled))
        else:
            self._engine.set_enabled(name, enabled)

    def overlay(self) -> Sequence[Overlay]:
        """What the rules want drawn onto the frame that `step` returned last."""
        return self._rules.overlay()

    def stats(self) -> Stats:
        stages = {name: timer.stats() for name, timer in self._timers.items()}
        capture, publish = self._capture.stats(), self._publisher.stats()
        return Stats(self._frames, self._skipped, self._engine.rebuilt, capture, stages, publish)

    @property
    def reuses(self) -> bool:
        """Whether anything may be answered without computing it: by the configuration, and by what tuning found."""
        return self._engine.reuses

    def reuse_stats(self) -> Mapping[str, JsonValue]:
        """What was answered without computing all of it (reuse/frames.py); empty where nothing is reused."""
        return self._engine.reuse_stats()

    def health(self) -> Health:
        return Health(
            self._capture.stats().state,
            self._engine.backend,
            self._engine.heads(),
            self._rules.enabled(),
            self._last_frame_ns,
            self._faults.open(),
            self._rung.name,
        )

    def close(self, drain_s: float = 3.0) -> None:
        """End all open events, deliver what can be delivered in drain_s, release everything. Safe to call twice.

        The frame in flight is dropped.
        """
        with ExitStack() as stack:  # runs them all, in reverse, whatever one of them raises
            stack.callback(self._capture.close, drain_s / 3)
            stack.callback(self._publisher.close, drain_s)
            stack.callback(self._end_events)
            stack.callback(self._engine.close, drain_s / 3)

    def _read_ahead(self, timeout_s: float) -> None:
        """Hand the next frame, if there is one, to the inference thread; an end is kept until its turn comes."""
        wait_s = self._engine.wait_s()
        if wait_s > 0:  # behind a failure: frames are left to the camera meanwhile
            time.sleep(min(wait_s, timeout_s))
            return
        if self._ended is None:
            try:
                frame = self._capture.read(timeout_s)
            except (EndOfClip, EdgeError) as exc:
                self._ended = exc
            else:
                if frame is not None and self._is_wanted():
                    self._engine.submit(frame)
                return
        if timeout_s:
            raise self._ended

    def _is_wanted(self) -> bool:
        """Whether this frame is one of those that the rung lets through."""
        self._offered += 1
        wanted = self._rung.every > 0 and self._offered % self._rung.every == 0
        self._skipped += not wanted
        return wanted

    def _finish(self, frame: Frame) -> Frame:
        self._timers["rules"].timed(self._understand, frame)
        self._timers["publish"].timed(self._publisher.publish_frame, frame)
        self.recent_events.extend(frame.events)
        self._frames += 1
        self._last_frame_ns, self._last_utc_ns = frame.captured_ns, frame.utc_ns
        self._heartbeat(frame.captured_ns, frame.utc_ns)
        return frame

    def _understand(self, frame: Frame) -> Frame:
        if self._tracker is not None:
            self._tracker.track(frame)
        return self._rules.evaluate(frame)

    def _note_faults(self) -> None:
        """Tell of a camera, backend or head that is lost, and of its return."""
        if self._capture.state == "running" and self._engine.well and not self._faults:
            return  # as at nearly every frame
        capture = self._capture.stats()
        lost = capture.state in _LOST
        if self._told_lost and not lost:
            self._engine.refresh()
        if lost and not self._told_lost:  # end what was going on, once; what is seen when it is back is new
            self._publish_events(self._rules.finish("source_lost"))
        self._told_lost = lost
        self.report("camera", {"state": capture.state, "error": capture.last_error or ""} if lost else None)
        problem = self._engine.problem
        self.report("backend", None if problem is None else {"error": problem})
        failed = self._engine.failed_heads()
        told = {name.partition(":")[2] for name in self._faults.open() if name.startswith("head:")}
        for name in told | set(failed):
            self.report(f"head:{name}", {"head": name, "error": failed[name]} if name in failed else None)

    def _end_events(self) -> None:
        reason = {EndOfClip: "end_of_clip", type(None): "shutdown"}.get(type(self._ended), "source_lost")
        self._publish_events(self._rules.finish(reason))
        now = Moment(self._clock.monotonic_ns(), self._clock.utc_ns())
        self._publish_events(self._faults.finish(reason, now))

    def _publish_events(self, events: Iterable[Event]) -> None:
        """Publish what came about between frames: a replay's clock stands still there."""
        events = list(events)
        if not events:
            return
        self.recent_events.extend(events)
        now = (self._last_frame_ns or 0, self._last_utc_ns)
        if not self._replay:
            now = (self._clock.monotonic_ns(), self._clock.utc_ns())
        self._publisher.publish_events(events, Stamp(*now, self._clock.synced()), self.config.source.common.name)

    def _heartbeat(self, now_ns: int, utc_ns: int) -> None:
        every_ns = round(self.config.publish.status_every_s * 1e9)
        if self._replay or not every_ns or now_ns < self._next_status_ns:
            return
        self._next_status_ns = now_ns + every_ns
        self._publisher.publish_status(Stamp(now_ns, utc_ns, self._clock.synced()), status(self))

    def _opener(self, config: Config) -> Callable[[], Inference]:
        return lambda: build_inference(config, replay=self._replay)

    def _reopen_publisher(self, config: Config) -> None:
        self._publisher.close(_RELOAD_DRAIN_S)  # before the new one: both would write the same outbox
        try:
            self._publisher = build_publisher(config, self._clock, replay=self._replay)
        except EdgeError:
            self._publisher = build_publisher(self.config, self._clock, replay=self._replay)
            raise

    def _reopen_source(self, config: Config) -> None:
        self._capture.close()  # before the new one: a camera opens once
        try:
            self._capture = build_source(config, self._clock, replay=self._replay)
            self._engine.refresh()
        except EdgeError:
            self._capture = build_source(self.config, self._clock, replay=self._replay)
            raise
        self._ended = None


def _model(config: Config) -> object:
    """What inference is built from."""
    return config.model, config.manifest, config.heads, config.reuse


def _upstream(config: Config) -> object:
    """What the publisher is built from."""
    rules = [(rule.name, rule.type) for rule in config.rules]
    return config.device, config.publish, config.outbox, config.sinks, rules


def status(pipeline: Pipeline) -> dict[str, JsonValue]:
    """What the heartbeat tells: how far, how fast, how healthy."""
    stats, health = pipeline.stats(), pipeline.health()
    return {
        "frames": stats.frames,
        "skipped": stats.skipped,
        "rebuilt": stats.rebuilt,
        "rung": health.rung,
        "faults": {name: dict(value) for name, value in health.faults.items()},
        "source": asdict(stats.capture),
        "backend": health.backend,
        "heads": dict(health.heads),
        "rules": dict(health.rules),
        "reuse": dict(pipeline.reuse_stats()),
        "stages": {name: asdict(stage) for name, stage in stats.stages.items()},
        "publish": asdict(stats.publish),
        **pipeline.about,
    }
