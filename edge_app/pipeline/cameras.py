"""Several cameras in one process: a pipeline each, which one thread steps as soon as one of them has something to do.

A camera that fails, hangs or ends stops nobody: capture and inference of each have threads of their own, the engine is
shared by turns (inference/scheduler.py), and a pipeline whose step raises an error is built again, with backoff.
Not here: a pipeline (loop.py), what they share (sharing.py).
"""

from __future__ import annotations

import logging
import random
import time
from contextlib import ExitStack
from threading import Event as Flag

from edge_app.backoff import Backoff
from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.errors import BackendError, EdgeError, EndOfClip, foreign_exception
from edge_app.frame import Frame
from edge_app.pipeline.loop import Pipeline
from edge_app.pipeline.sharing import Shared

_LOG = logging.getLogger(__name__)
_POLL_S = 0.2  # a pipeline is stepped at least this often, for its schedules, faults and heartbeat
_STABLE_S = 60.0  # after this long without an error, the next one counts as the first


class Camera:
    """One camera. ended: its clip is over. error: of the last step, while it waits to be built again."""

    def __init__(self, config: Config, clock: Clock, shared: Shared, wake: Flag) -> None:
        self.ended = False
        self.error: str | None = None
        self.ready = True
        self.next_poll_s = 0.0
        self._wake = wake
        self._backoff = Backoff(1.0, 300.0)
        self._attempt, self._failed_s = 0, 0.0
        self.running = Pipeline(config, clock, share=shared.share(config, self._notify))

    def _notify(self) -> None:
        """There is a frame or a result. For any thread."""
        self.ready = True
        self._wake.set()

    def step(self, now_s: float) -> Frame | None:
        """One step that does not wait. Raises BackendError if only a new process can help."""
        self.ready, self.next_poll_s = False, now_s + _POLL_S
        try:
            if self.error is not None:
                self.running.recover()
                _LOG.warning("camera '%s': built again", self.running.config.camera)
                self.error = None
            frame = self.running.step(0)
        except EndOfClip:
            _LOG.info("camera '%s': the clip ended", self.running.config.camera)
            self.ended = True
            return None
        except (BackendError, BrokenPipeError):
            raise  # the engine or the output of all cameras
        except Exception as exc:  # noqa: BLE001  (logged and reported: one camera must not end the others)
            self._record_failure(exc, now_s)
            return None
        self.ready = self.ready or frame is not None  # the next one may be there
        return frame

    def _record_failure(self, exc: Exception, now_s: float) -> None:
        error = str(exc) if isinstance(exc, EdgeError) else f"internal error: {foreign_exception(exc)}"
        trace = None if isinstance(exc, EdgeError) else exc
        if now_s - self._failed_s > _STABLE_S:
            self._attempt = 0
        wait_s = self._backoff.wait_s(self._attempt, random.Random())
        self._attempt += 1
        self._failed_s = now_s
        self.error, self.ready, self.next_poll_s = error, False, now_s + wait_s
        _LOG.error("camera '%s': %s; building it again", self.running.config.camera, error, exc_info=trace)
        self.running.report_fault("camera", {"state": "lost", "error": error})


class Cameras:
    """The pipelines of a configuration with several cameras. Raises EdgeError if one cannot be built.

    That a camera is not there is no error: its source is tried again.
    """

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._wake = Flag()
        self._turn = 0
        self.by_name: dict[str, Camera] = {}
        with ExitStack() as stack:
            self._shared = Shared(config, clock)
            stack.callback(self.close, 0.0)
            for each in config.each:
                self.by_name[each.camera] = self._open(each)
            stack.pop_all()

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline of each camera, by its name."""
        return {name: camera.running for name, camera in self.by_name.items()}

    def step(self, timeout_s: float) -> tuple[Pipeline, Frame] | None:
        """The next finished frame of any camera, with its pipeline; None if there is none within timeout_s.

        Raises EndOfClip if all cameras have ended, EdgeError if only a new process can help.
        """
        end_s = time.monotonic() + timeout_s
        while True:
            self._wake.clear()
            now_s = time.monotonic()
            cameras = list(self.by_name.values())
            for offset in range(len(cameras)):
                index = (self._turn + offset) % len(cameras)
                camera = cameras[index]
                if camera.ended or not (camera.ready or now_s >= camera.next_poll_s):
                    continue
                if camera.error is not None and now_s < camera.next_poll_s:
                    continue
                frame = camera.step(now_s)
                if frame is not None:
                    self._turn = index + 1  # so that a camera with many frames does not go first again
                    return camera.running, frame
            if all(camera.ended for camera in cameras):
                raise EndOfClip
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                return None
            self._wake.wait(min(left_s, _POLL_S))

    def apply(self, config: Config) -> None:
        """Switch to another configuration: cameras are added, changed and removed; the others go on.

        Raises EdgeError if it cannot be built; the old one then continues.
        """
        wanted = {each.camera: each for each in config.each}
        old = {name: camera.running.config for name, camera in self.by_name.items()}
        before = next(iter(old.values())).replaced(cameras=tuple(old.values()))
        added: dict[str, Camera] = {}
        with ExitStack() as undo:
            undo.callback(self._shared.reopen, before)
            self._shared.reopen(config)
            for name, each in wanted.items():
                if name in old:
                    undo.callback(self.by_name[name].running.apply, old[name])
                    self.by_name[name].running.apply(each)
                else:
                    added[name] = self._open(each)
                    undo.callback(added[name].running.close, 0.0)
            undo.pop_all()
        for name in old:
            if name not in wanted:
                self.by_name.pop(name).running.close(0.0)
                self._shared.forget(name)
        self.by_name = {name: self.by_name.get(name) or added[name] for name in wanted}
        for camera in self.by_name.values():
            camera.ended, camera.ready = False, True

    def stuck(self) -> str | None:
        """Why no camera makes progress, or None."""
        reasons = [camera.running.stuck() for camera in self.by_name.values() if not camera.ended]
        return reasons[0] if reasons and None not in reasons else None

    def close(self, drain_s: float = 3.0) -> None:
        """End all events, deliver for up to drain_s, release all. Safe to call twice."""
        with ExitStack() as stack:  # closes all of them, even if one raises
            stack.callback(self._shared.close, drain_s)
            end_s = time.monotonic() + drain_s
            for camera in self.by_name.values():
                stack.callback(_close_until, camera.running, end_s)

    def _open(self, config: Config) -> Camera:
        return Camera(config, self._clock, self._shared, self._wake)


def _close_until(running: Pipeline, end_s: float) -> None:
    """Close a pipeline within the time that is left. end_s: time.monotonic()."""
    running.close(max(0.0, end_s - time.monotonic()))


class OneCamera:
    """A single pipeline, with the methods of Cameras."""

    def __init__(self, running: Pipeline) -> None:
        self._running = running

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The pipeline by the name of its camera."""
        return {self._running.config.camera: self._running}

    def step(self, timeout_s: float) -> tuple[Pipeline, Frame] | None:
        """As of Cameras. Raises what the pipeline's `step` does."""
        frame = self._running.step(timeout_s)
        return None if frame is None else (self._running, frame)

    def apply(self, config: Config) -> None:
        """As of Cameras."""
        self._running.apply(config)

    def stuck(self) -> str | None:
        """Why there is no progress, or None."""
        return self._running.stuck()

    def close(self, drain_s: float = 3.0) -> None:
        """As of Cameras."""
        self._running.close(drain_s)
