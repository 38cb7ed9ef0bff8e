"""build(config) -> Pipeline: the one loop through which every frame goes.

    capture ──► inference ──► rules ──► publish
    (thread)    (thread)      (the caller's thread; a worker a sink behind it)

While a frame goes through rules and is published, the next one is already in inference, and the one after it is being
decoded. Stages run in frame order. Not here: signals, watchdog, reload on a changed file (daemon.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass

import cv2

from edge_app.analytics import Overlay
from edge_app.capture import Capture, CaptureStats
from edge_app.clock import ClipClock, Clock, SystemClock
from edge_app.config import Config
from edge_app.device import device_id
from edge_app.errors import EdgeError, EndOfClip
from edge_app.frame import Event, Frame, JsonValue
from edge_app.inference import Inference, open_backend
from edge_app.messages import Stamp
from edge_app.publish import Publisher, PublishStats
from edge_app.rules import Rules
from edge_app.timing import StageStats, StageTimer
from edge_app.worker import Worker


@dataclass(frozen=True, slots=True)
class Stats:
    """What happened so far. stages: by name, in pipeline order."""

    frames: int
    capture: CaptureStats
    stages: Mapping[str, StageStats]
    publish: PublishStats


@dataclass(frozen=True, slots=True)
class Health:
    """Whether the camera sees and the model runs. heads, rules: by name, whether it is switched on."""

    source: str
    backend: str
    heads: Mapping[str, bool]
    rules: Mapping[str, bool]
    last_frame_ns: int | None


def build(config: Config, *, replay: bool = False) -> Pipeline:
    """Set up everything that the configuration names, or raise EdgeError saying what cannot be.

    replay: every frame of a clip, in order, as fast as it goes, on the clip's own clock, results for every frame.
    """
    cv2.setNumThreads(1)  # frames are small; a second OpenCV thread would fight the engine for its core
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
        self._timers = {name: StageTimer() for name in ("wait", "inference", "rules", "publish")}
        self._rules = Rules(config)
        with ExitStack() as stack:
            self._inference = stack.enter_context(closing(self._open_model(config)))
            self._publisher = stack.enter_context(closing(self._open_publisher(config)))
            self._capture = stack.enter_context(Capture(config.source, clock, prefetch=1))
            self._worker: Worker[Frame, Frame] = Worker(self._infer, "inference")
            stack.pop_all()  # all is open: from here on close() releases it

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def step(self, timeout_s: float = 1.0) -> Frame | None:
        """Take one frame through every stage. Returns it, or None where none came in time.

        Raises EndOfClip behind a clip's last frame, EdgeError where a stage cannot go on.
        """
        if not self._worker.busy:
            self._timers["wait"].timed(self._read_ahead, timeout_s)
        if not self._worker.busy:
            self._notice_loss()
            self._heartbeat(self._clock.monotonic_ns(), self._clock.utc_ns())
            return None
        frame = self._worker.result()
        self._read_ahead(0)  # the next inference runs beside this frame's publishing
        return self._finish(frame)

    def apply(self, config: Config) -> None:
        """Exchange the configuration at a frame boundary; only what changed is built anew.

        Raises EdgeError where the new one cannot be built; the old one then runs on.
        """
        if self._worker.busy:
            self._finish(self._worker.result())
        old = self.config
        Rules(config)  # raises here, where nothing has changed yet
        model_changed = (old.model, old.manifest, old.heads) != (config.model, config.manifest, config.heads)
        inference = self._open_model(config) if model_changed else self._inference
        try:
            if model_changed or (old.device, old.publish, old.sinks) != (config.device, config.publish, config.sinks):
                self._reopen_publisher(config)
        except EdgeError:
            if model_changed:
                inference.close()
            raise
        if model_changed:
            self._inference.close()
            self._inference = inference
        self._publish_events(self._rules.apply(config))
        if old.source != config.source:
            self._capture.close()  # before the new one: a camera opens once
            self._capture, self._ended = Capture(config.source, self._clock, prefetch=1), None
            self._capture.start()
        self.config = config

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Switch a head or a rule on or off from the next frame on. Raises KeyError where there is none so named."""
        if name in self._rules.enabled():
            self._publish_events(self._rules.set_enabled(name, enabled))
        else:
            self._inference.set_enabled(name, enabled)

    def overlay(self) -> Sequence[Overlay]:
        """What the rules want drawn onto the frame that `step` returned last."""
        return self._rules.overlay()

    def stats(self) -> Stats:
        stages = {name: timer.stats() for name, timer in self._timers.items()}
        return Stats(self._frames, self._capture.stats(), stages, self._publisher.stats())

    def health(self) -> Health:
        heads, rules = self._inference.enabled(), self._rules.enabled()
        return Health(self._capture.stats().state, self._inference.backend, heads, rules, self._last_frame_ns)

    def close(self) -> None:
        """Deliver what can be delivered, release everything. The frame in flight is dropped. Safe to call twice."""
        with ExitStack() as stack:  # runs them all, in reverse, whatever one of them raises
            stack.callback(self._inference.close)
            stack.callback(self._publisher.close)
            stack.callback(self._end_events)
            stack.callback(self._worker.close)
            stack.callback(self._capture.close)

    def _read_ahead(self, timeout_s: float) -> None:
        """Hand the next frame, if there is one, to the inference thread; an end is kept until its turn comes."""
        if self._ended is None:
            try:
                frame = self._capture.read(timeout_s)
            except (EndOfClip, EdgeError) as exc:
                self._ended = exc
            else:
                if frame is not None:
                    self._worker.submit(frame)
                return
        if timeout_s:
            raise self._ended

    def _infer(self, frame: Frame) -> Frame:
        return self._timers["inference"].timed(self._inference, frame)

    def _finish(self, frame: Frame) -> Frame:
        self._timers["rules"].timed(self._rules, frame)
        self._timers["publish"].timed(self._publisher.publish_frame, frame)
        self._frames += 1
        self._last_frame_ns, self._last_utc_ns = frame.captured_ns, frame.utc_ns
        self._told_lost = False
        self._heartbeat(frame.captured_ns, frame.utc_ns)
        return frame

    def _notice_loss(self) -> None:
        """End what was going on before the camera was lost, once; what it sees when it is back is new."""
        if not self._told_lost and self._capture.stats().state in ("lost", "frozen"):
            self._told_lost = True
            self._publish_events(self._rules.finish("source_lost"))

    def _end_events(self) -> None:
        reason = {EndOfClip: "end_of_clip", type(None): "shutdown"}.get(type(self._ended), "source_lost")
        self._publish_events(self._rules.finish(reason))

    def _publish_events(self, events: Iterable[Event]) -> None:
        """Publish what came about between frames: a replay's clock stands still there."""
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

    def _open_model(self, config: Config) -> Inference:
        backend = open_backend(config.manifest, config.model.backend, config.model.threads)
        try:
            return Inference(config.manifest, backend, config.heads)
        except BaseException:
            backend.close()
            raise

    def _open_publisher(self, config: Config) -> Publisher:
        labels = {name: head.labels for name, head in config.manifest.heads.items()}
        device = device_id(config.device.id, replay=self._replay)
        return Publisher(config, self._clock, device, labels, durable=not self._replay)

    def _reopen_publisher(self, config: Config) -> None:
        self._publisher.close()  # before the new one: both would write the same outbox
        try:
            self._publisher = self._open_publisher(config)
        except EdgeError:
            self._publisher = self._open_publisher(self.config)
            raise


def status(pipeline: Pipeline) -> dict[str, JsonValue]:
    """What the heartbeat tells: how far, how fast, how healthy."""
    stats, health = pipeline.stats(), pipeline.health()
    return {
        "frames": stats.frames,
        "source": asdict(stats.capture),
        "backend": health.backend,
        "heads": dict(health.heads),
        "rules": dict(health.rules),
        "stages": {name: asdict(stage) for name, stage in stats.stages.items()},
        "publish": asdict(stats.publish),
        **pipeline.about,
    }
