"""The loop that takes every frame through all stages.

    capture ──► inference ──► tracking, rules, publish
    (thread)    (thread)      (the caller's thread; each sink has a worker thread)

The stages overlap: while a frame is tracked, evaluated and published, inference runs on the next one and capture
decodes the one after it. A replay overlaps them too, with a second frame waiting for inference, except on one core,
where it runs all stages on one thread; its output is the same. Frames stay in order.
A lost camera, failed backend or failed head is published as an event; the other parts continue.
Not here: signals, the watchdog, the configuration file (daemon/), rebuilding a backend (inference/supervisor.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing
from functools import partial

from edge_app.capture import Capture
from edge_app.capture.clips import ClipReader
from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.errors import EdgeError, EndOfClip
from edge_app.frame import Event, Frame, JsonValue
from edge_app.inference.supervisor import InferenceSupervisor
from edge_app.pipeline.build import (
    build_inference,
    build_publisher,
    build_rules,
    build_source,
    build_tracker,
    changed_heads,
    deadline_s,
    labels_of,
    publisher_settings,
)
from edge_app.pipeline.degradation import FULL, FrameSkipper, Rung
from edge_app.pipeline.faults import Faults, camera_lost, end_reason
from edge_app.pipeline.health import Health, Stats, status_fields
from edge_app.pipeline.idle import Idle
from edge_app.pipeline.reporter import Reporter
from edge_app.pipeline.rule_stage import RuleStage
from edge_app.pipeline.schedules import Schedules
from edge_app.pipeline.sharing import CameraShare
from edge_app.pipeline.timing import StageTimer
from edge_app.rules import Moment, Overlay
from edge_app.state import StateBoard

_RELOAD_DRAIN_S = 0.5


class Pipeline(AbstractContextManager["Pipeline"]):
    """All stages of one configuration. Call `step` until it raises EndOfClip; `close` releases everything.

    overlap: whether the stages overlap; without, which only a replay can do, they run on the caller's thread.
    about: further fields of the heartbeat, about the installed release. board: what sinks publish as state.
    share: what this camera shares with others of the process (cameras.py); None: it is the only one.
    """

    def __init__(
        self,
        config: Config,
        clock: Clock,
        *,
        replay: bool = False,
        overlap: bool = True,
        share: CameraShare | None = None,
    ) -> None:
        self.config = config
        self.about: Mapping[str, JsonValue] = {}
        self._clock, self._replay, self._overlap, self._share = clock, replay, overlap, share
        self._reports = Reporter(clock, replay=replay)
        self.recent_events = self._reports.recent_events
        self._end: Exception | None = None  # of the source; raised once the frame in flight has passed
        self._ended = False  # whether it was raised
        self._skipper, self._frames = FrameSkipper(), 0
        self._idle = Idle(config.power, clock, replay=replay, several=share is not None)
        self._faults, self._camera_lost = Faults(config.scope), False
        self._timers = {name: StageTimer() for name in ("wait", "inference", "rules", "publish")}
        self._tracker = build_tracker(config)
        self._rules = self.rules = RuleStage(build_rules(config))
        self.board = StateBoard() if share is None else share.board
        self._build_publisher = partial(build_publisher, clock=clock, board=self.board, replay=replay, share=share)
        self._open_model = partial(build_inference, replay=replay, share=share)
        self._schedules = Schedules(config, clock, replay=replay)
        with ExitStack() as stack:
            self._inference = InferenceSupervisor(
                partial(self._open_model, config),
                self._timers["inference"].timed,
                deadline_s(config, replay=replay),
                inline=not overlap,
                share=None if share is None else share.engine,
            )
            stack.enter_context(closing(self._inference))
            self._publisher = stack.enter_context(closing(self._build_publisher(config)))
            self._capture = self._build_source(config)
            stack.pop_all()  # from now on, close() releases them

    def __exit__(self, *exc: object) -> None:
        self.close()

    def step(self, timeout_s: float = 1.0) -> Frame | None:
        """Take one frame through every stage. Returns it, or None if none is finished within timeout_s.

        Raises EndOfClip after the last frame of a clip, EdgeError if a stage cannot continue.
        """
        if not self._replay and self._schedules.update():
            self._apply_schedules()
        if self._inference.has_room:
            self._timers["wait"].timed(self._start_inference, timeout_s)
            if self._end is not None and not self._inference.busy and not self._inference.wait_s():
                self._ended = True
                raise self._end
        frame = self._inference.result(timeout_s) if self._inference.busy else None
        self._update_faults()
        if frame is None:
            self._publish_heartbeat(self._clock.monotonic_ns(), self._clock.utc_ns())
            return None
        if self._overlap:  # inference on the next frame while this one is published; a replay waits for that frame
            self._start_inference(timeout_s if self._replay else 0)
        return self._finish_frame(frame)

    def _start_inference(self, timeout_s: float) -> None:
        """Read the next frame and submit it to inference. Sets `_end` if the source has ended."""
        wait_s = max(self._inference.wait_s(), self._idle.wait_s())
        if wait_s > 0:  # after a failure, or idle; the camera drops frames during the wait
            time.sleep(min(wait_s, timeout_s))
            return
        if self._end is None:
            try:
                frame = self._capture.read(timeout_s)
            except (EndOfClip, EdgeError) as exc:
                self._end = exc
            else:
                if frame is not None and self._skipper.passes():
                    if self._replay and self._schedules.update_heads(Moment.of(frame)):
                        self._inference.wait()
                        self._inference.set_off_hours(self._schedules.off_heads)
                    self._inference.submit(frame)

    def _finish_frame(self, frame: Frame) -> Frame:
        """Track, evaluate and publish a frame that inference has finished."""
        if self._replay and self._schedules.update_rules(Moment.of(frame)):
            self._publish_events(self._rules.set_off_hours(self._schedules.off_rules))
        self._timers["rules"].timed(self._track_and_evaluate, frame)
        self._timers["publish"].timed(self._publisher.publish_frame, frame)
        self._reports.record(frame)
        self._idle.observe(frame)
        self._frames += 1
        self._publish_heartbeat(frame.captured_ns, frame.utc_ns)
        return frame

    def _track_and_evaluate(self, frame: Frame) -> Frame:
        if self._tracker is not None:
            self._tracker.track(frame)
        return self._rules.evaluate(frame)

    def _apply_schedules(self) -> None:
        """Switch heads, rules and the camera on or off, as their schedules say."""
        schedules = self._schedules
        closed = self._capture.state == "closed"
        if isinstance(self._capture, Capture) and schedules.source_off and not closed:
            self._capture.pause(2.0 if self._share is None else _RELOAD_DRAIN_S)  # one that hangs delays no other
            self._drain()
            self._publish_events(self._rules.finish("schedule"))
            self._publish_events(self._faults.update("camera", None, self._reports.now(), "schedule"))
        self._publish_events(self._rules.set_off_hours(schedules.off_rules))
        self._inference.set_off_hours(schedules.off_heads)
        if isinstance(self._capture, Capture) and closed and not schedules.source_off:
            self._capture.resume()
            self._inference.refresh()

    def _drain(self) -> None:
        """Finish the frames in flight, except those that are lost."""
        while self._inference.busy:
            if (frame := self._inference.drain()) is not None:
                self._finish_frame(frame)

    def _update_faults(self) -> None:
        """Publish the loss of a camera, backend or head, and its recovery."""
        if self._capture.state == "running" and self._inference.healthy and not self._faults:
            return  # true for nearly every frame
        capture = self._capture.stats()
        lost = camera_lost(capture)
        if lost and not self._camera_lost:  # end open events; objects that appear after the reconnect are new
            self._publish_events(self._rules.finish("source_lost"))
        if self._camera_lost and not lost:
            self._inference.refresh()
        self._camera_lost = lost
        failed = self._inference.failed_heads()
        self._publish_events(self._faults.update_all(capture, self._inference.problem, failed, self._reports.now()))

    def report_fault(self, fault: str, value: Mapping[str, JsonValue] | None) -> None:
        """Publish the state of a fault if it has changed. None: the fault is over."""
        self._publish_events(self._faults.update(fault, value, self._reports.now()))

    def apply_rung(self, rung: Rung, reason: str) -> None:
        """Degrade to a rung of the ladder from the next frame on, and publish it as the fault `load`."""
        self._skipper.rung = rung
        self._inference.degrade(rung.without, relax_reuse=rung.relax_reuse)
        self.report_fault("load", None if rung == FULL else {"does": rung.name, "reason": reason})

    def mute(self, muted: bool) -> None:
        """Evaluate no rule until it is called with False."""
        self._publish_events(self._rules.mute(muted))

    def report_command(self, value: Mapping[str, JsonValue]) -> Event:
        """Publish an accepted command as an event, which has no duration. value: `command`, its `value`, `origin`."""
        events = self._faults.command(value, self._reports.now())
        self._publish_events(events)
        return events[0]

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Enable or disable a head or a rule from the next frame on. Raises KeyError if there is none of this name.

        A head that is enabled or disabled while a frame is in inference may affect that frame, except in a replay.
        """
        if name in self._rules.enabled():
            self._publish_events(self._rules.set_enabled(name, enabled))
        else:
            if self._replay:
                self._inference.wait()
            self._inference.set_enabled(name, enabled)

    def apply(self, config: Config) -> None:
        """Switch to another configuration between two frames. Rebuilds only the stages that it changes.

        Raises EdgeError if the new configuration cannot be built; the old one then continues.
        """
        self._drain()
        old = self.config
        rules = build_rules(config)  # may raise: nothing has changed yet
        heads = changed_heads(old, config)
        model_changed, open_model = heads is None, partial(self._open_model, config)
        with ExitStack() as undo:
            if model_changed:
                inference = undo.enter_context(closing(open_model()))
            if model_changed or publisher_settings(old) != publisher_settings(config):
                self._reopen_publisher(config)
                undo.callback(self._reopen_publisher, old)
            if old.source != config.source:
                self._reopen_source(config)
            undo.pop_all()
        if model_changed:
            self._inference.replace(open_model, inference, deadline_s(config, replay=self._replay))
            self._inference.degrade(self._skipper.rung.without, relax_reuse=self._skipper.rung.relax_reuse)
        elif heads:
            self._inference.reconfigure(open_model, heads)
        if old.track != config.track or labels_of(old) != labels_of(config):
            self._tracker = build_tracker(config)
        self._publish_events(self._rules.apply(rules))
        self.config = config
        self._idle.apply(config.power)
        self._schedules = Schedules(config, self._clock, replay=self._replay, clock_set=self._schedules.clock_set)
        self._schedules.update()
        self._apply_schedules()

    def _reopen_publisher(self, config: Config) -> None:
        previous = self._publisher.hand_over(_RELOAD_DRAIN_S)  # before the new one opens: both would use the same sinks
        try:
            self._publisher = self._build_publisher(config, previous=previous)
        except Exception:  # after any error, the old one must keep running
            self._publisher = self._build_publisher(self.config, previous=previous)
            raise

    def _reopen_source(self, config: Config) -> None:
        self._capture.close(2.0 if self._share is None else _RELOAD_DRAIN_S)  # a camera can be opened only once
        try:
            self._capture = self._build_source(config)
            self._inference.refresh()
        except Exception:  # after any error, the old one must keep running
            self._capture = self._build_source(self.config)
            raise
        self._end, self._ended = None, False

    def _build_source(self, config: Config) -> Capture | ClipReader:
        prepare = self._inference.prepare if self._overlap else None
        return build_source(config, self._clock, replay=self._replay, prepare=prepare, share=self._share)

    def overlay(self) -> Sequence[Overlay]:
        """The shapes that the rules draw onto the frame that `step` returned last."""
        return self._rules.overlay()

    def stats(self) -> Stats:
        stages = {name: timer.stats() for name, timer in self._timers.items()}
        capture, publish = self._capture.stats(), self._publisher.stats()
        return Stats(self._frames, self._skipper.skipped, self._inference.rebuilt, capture, stages, publish)

    def health(self) -> Health:
        source, backend, heads = self._capture.stats().state, self._inference.backend, self._inference.heads()
        faults, rung = self._faults.open(), self._skipper.rung.name
        return Health(source, backend, heads, self._rules.enabled(), self._reports.last_frame_ns, faults, rung)

    def status(self) -> dict[str, JsonValue]:
        """The fields of the heartbeat: progress, timing, health."""
        fields = status_fields(self.stats(), self.health(), self.reuse_stats())
        return {**fields, **self._schedules.status(), **self._publisher.totals(), **self.about}

    def stuck(self) -> str | None:
        """Why there is no progress, or None. A lost camera or an unreachable sink does not count: both are retried."""
        return self._inference.stuck() or self._publisher.stuck()

    @property
    def source_off(self) -> bool:
        """Whether the camera is closed by schedule."""
        return self._schedules.source_off

    @property
    def reuses(self) -> bool:
        """Whether the model reuses results of earlier frames, by its configuration and its reuse profile."""
        return self._inference.reuses

    def reuse_stats(self) -> Mapping[str, JsonValue]:
        """Statistics of reuse (reuse/frame_reuse.py); empty without reuse."""
        return self._inference.reuse_stats()

    def _publish_events(self, events: Iterable[Event]) -> None:
        """Publish events that do not belong to a frame."""
        self._reports.events(self._publisher, events, self.config.camera)

    def _publish_heartbeat(self, now_ns: int, utc_ns: int) -> None:
        """Publish a status message if one is due."""
        if self._reports.heartbeat_due(self.config, now_ns):
            self.publish_status(self.status(), Moment(now_ns, utc_ns))

    def publish_status(self, fields: Mapping[str, JsonValue], at: Moment | None = None) -> None:
        """Publish a status message with these fields. at: its time; None: now."""
        self._reports.status(self._publisher, fields, at, self.config.camera)

    def recover(self) -> None:
        """Build source, tracker and rules again, after an error that `step` has raised. Raises EdgeError."""
        self._publish_events(self._rules.finish("source_lost"))
        self._tracker = build_tracker(self.config)
        self._rules = self.rules = RuleStage(build_rules(self.config))
        self._reopen_source(self.config)

    def close(self, drain_s: float = 3.0) -> None:
        """End all events, deliver for up to drain_s, drop the frame in flight, release all. Safe to call twice."""
        with ExitStack() as stack:  # calls all of them, in reverse order, even if one raises
            stack.callback(self._capture.close, drain_s / 3)
            stack.callback(self._publisher.close, drain_s)
            stack.callback(self._end_events)
            stack.callback(self._inference.close, drain_s / 3)
            stack.callback(self._idle.close)

    def _end_events(self) -> None:
        reason = end_reason(self._end if self._ended else None)
        self._publish_events(self._rules.finish(reason))
        self._publish_events(self._faults.finish(reason, self._reports.now()))
