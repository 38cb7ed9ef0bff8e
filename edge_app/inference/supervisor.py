"""Supervises inference: runs it on its own thread, and rebuilds the model, with backoff, if it fails or hangs.

The thread builds, uses and closes its model itself, because inference engines are bound to a thread. A thread that
hangs cannot be ended: it is abandoned, and closes its model if its call ever returns.
Not here: inference itself, and failures of a single head (stage.py).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping

from edge_app.backoff import Backoff
from edge_app.config import HeadConfig
from edge_app.errors import BackendError, EdgeError
from edge_app.frame import Frame, JsonValue
from edge_app.inference.overlap import OverlappedInference
from edge_app.inference.shared_engine import EngineShare
from edge_app.inference.stage import Inference
from edge_app.threads import AbandonedThreads, Inline, Worker

_LOG = logging.getLogger(__name__)
_MAX_HUNG_THREADS = 3  # each may hold the memory of a model
_POLL_S = 0.1

Open = Callable[[], Inference]
Timed = Callable[[Callable[[Frame], Frame], Frame], Frame]  # calls a stage with a frame and measures the time


class _Model:
    """The model of one inference thread. steps: if its steps overlap; `infer` then only runs the graphs.

    share: of an engine that other cameras use too.
    """

    def __init__(
        self,
        open_model: Open,
        inference: Inference | None,
        timed: Timed,
        steps: OverlappedInference | None,
        share: EngineShare | None = None,
    ) -> None:
        self._open = open_model
        self._timed = timed
        self.inference = inference
        self.steps = steps
        self._share = share

    def infer_in_turn(self, frame: Frame) -> Frame:
        """`infer` on an engine that other cameras use too."""
        assert self._share is not None
        return self._share.seat.run(self._infer_shared, frame)

    def _infer_shared(self, frame: Frame) -> Frame:
        if self._share is not None and self._share.retired:
            self.close()
            self.inference = None
        return self.infer(frame)

    def infer(self, frame: Frame) -> Frame:
        if self.steps is not None:
            return self._timed(self.steps.run, frame)
        if self.inference is None:
            self.inference = self._open()
        return self._timed(self.inference.infer, frame)

    def close(self) -> None:
        if self.inference is not None:
            self.inference.close()


class InferenceSupervisor:
    """Runs one frame at a time through the model. Used by one thread.

    open_model: builds the model; called at once (EdgeError is raised), and again after each failure.
    timed: calls a stage and measures its time.
    deadline_s: the longest that inference on one frame may take. None, for a replay: no limit, failures are raised,
    and nothing is rebuilt. inline: without a deadline, inference runs on the caller's thread.
    share: the engine is used by other cameras too; `deadline_s` then begins with the camera's turn.
    """

    def __init__(
        self,
        open_model: Open,
        timed: Timed,
        deadline_s: float | None,
        *,
        inline: bool = True,
        share: EngineShare | None = None,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._timed = timed
        self._inline, self._share = inline, share
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._abandoned = AbandonedThreads(_MAX_HUNG_THREADS)
        self._submitted_s = self._retry_s = 0.0
        self.rebuilt = self._attempt = 0
        self._inference: Inference | None = None
        self._problem: str | None = None
        self._failing_since_s: float | None = None
        self._degraded: frozenset[str] = frozenset()
        self._relaxed = False
        self._use_model(open_model, open_model(), deadline_s)

    @property
    def busy(self) -> bool:
        """Whether a frame is in flight."""
        return self._worker.pending > 0

    @property
    def has_room(self) -> bool:
        """Whether a frame may be submitted. In a replay that overlaps, two are in flight: the thread never waits."""
        return self._worker.pending < (2 if self._deadline_s is None and not self._inline else 1)

    @property
    def problem(self) -> str | None:
        """Why there is no working backend at present, or None."""
        return self._problem

    @property
    def healthy(self) -> bool:
        """Whether the backend works and no head has failed."""
        return self._problem is None and not self.failed_heads()

    def wait_s(self) -> float:
        """Seconds until a frame may be submitted. More than 0 only after a failure."""
        return max(0.0, self._retry_s - time.monotonic())

    def prepare(self, frame: Frame) -> None:
        """Prepare a frame for `submit`, if the steps of inference overlap. For one thread that reads ahead."""
        steps = self._model.steps
        if steps is not None:
            steps.prepare(frame)

    def submit(self, frame: Frame) -> None:
        """Start inference on a frame."""
        self._submitted_s = time.monotonic()
        self._worker.submit(frame)

    def result(self, timeout_s: float) -> Frame | None:
        """The frame in flight; None if it is not finished yet, or was lost because the backend failed.

        Raises BackendError if too many threads hang; without a deadline, the exception of inference.
        """
        if self._deadline_s is None:
            frame = self._worker.result()
            return frame if self._model.steps is None else self._model.steps.decode(frame)
        try:
            frame = self._worker.result(timeout_s)
        except TimeoutError:
            if self._running_s() > self._deadline_s:
                self._rebuild(f"no answer for {self._deadline_s:g} s", hung=True)
            return None
        except EdgeError as exc:
            self._rebuild(str(exc), hung=False)
            return None
        if self._problem is not None:
            _LOG.warning("inference works again after %d attempts", self._attempt)
        self._problem, self._attempt, self._failing_since_s = None, 0, None
        if self._inference is not self._model.inference:  # rebuilt; the switches may have changed since that began
            self._inference = self._model.inference
            if self._inference is not None:
                for name, head in self._reconfigured.items():
                    self._inference.reconfigure(name, head)
            self._apply_switches()
        return frame

    def _running_s(self) -> float:
        """How long inference on the frame in flight has lasted."""
        return time.monotonic() - self._submitted_s if self._share is None else self._share.seat.running_s

    def stuck(self) -> str | None:
        """Why inference has failed for longer than the deadline, or None. For the watchdog."""
        now_s = time.monotonic()
        if self._failing_since_s is not None and now_s - self._failing_since_s > (self._deadline_s or 0):
            return f"inference has failed for {now_s - self._failing_since_s:.0f} s: {self._problem}"
        return None

    def wait(self) -> None:
        """Wait for the frames in flight, however long they take; `result` then returns each at once."""
        self._worker.wait()

    def drain(self) -> Frame | None:
        """Wait for the oldest frame in flight, at most until its deadline. Returns it if it was not lost."""
        frame = None
        while self.busy and frame is None:
            frame = self.result(_POLL_S)
        return frame

    def replace(self, open_model: Open, inference: Inference, deadline_s: float | None) -> None:
        """Switch to another model. No frame may be in flight."""
        self._worker.close(0)
        self._use_model(open_model, inference, deadline_s)

    @property
    def backend(self) -> str:
        """Name and version of the inference engine; `none` without a working model."""
        return self._inference.backend if self._inference is not None else "none"

    def heads(self) -> dict[str, bool]:
        """By head name, whether it runs: enabled, not degraded, not failed."""
        return dict.fromkeys(self._enabled, False) if self._inference is None else self._inference.enabled()

    def failed_heads(self) -> dict[str, str]:
        """The heads that were disabled because they failed, and the error of each."""
        return {} if self._inference is None else self._inference.failed()

    def reuse_stats(self) -> Mapping[str, JsonValue]:
        """Statistics of reuse; empty without reuse or without a working model."""
        return {} if self._inference is None else self._inference.reuse_stats()

    def refresh(self) -> None:
        """Compute the next frame without reuse."""
        if self._inference is not None:
            self._inference.refresh()

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Enable or disable a head from the next frame on, across rebuilds. Raises KeyError if it does not exist."""
        if name not in self._enabled:
            raise KeyError(name)
        self._enabled[name] = enabled
        self._switch([name])

    def reconfigure(self, open_model: Open, heads: Mapping[str, HeadConfig]) -> None:
        """Change the options of heads, across rebuilds. open_model: builds a model that has them.

        No frame may be in flight.
        """
        self._open = open_model
        self._reconfigured |= heads
        for name, head in heads.items():
            self._enabled[name] = head.common.enabled
            if self._inference is not None:
                self._inference.reconfigure(name, head)
        self._switch(heads)

    def degrade(self, without: Collection[str], *, relax_reuse: bool = False) -> None:
        """Do not run the heads of `without`, across rebuilds. Replaces the arguments of the call before.

        relax_reuse: reuse more than configured.
        """
        self._degraded, self._relaxed = frozenset(without), relax_reuse
        self._apply_switches()

    def set_off_hours(self, names: Collection[str]) -> None:
        """Switch these heads off by schedule, and the others on, across rebuilds."""
        self._off_hours = frozenset(names)
        self._apply_switches()

    @property
    def reuses(self) -> bool:
        """Whether the model reuses results of earlier frames."""
        return self._reuses

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread after the frame in flight; it closes the model."""
        self._worker.close(timeout_s)

    def _use_model(self, open_model: Open, inference: Inference, deadline_s: float | None) -> None:
        self._open, self._deadline_s = open_model, deadline_s
        self._inference = inference
        self._reuses = inference.reuses
        self._enabled = inference.enabled()  # as configured, then by set_enabled
        self._reconfigured: dict[str, HeadConfig] = {}
        self._degraded, self._relaxed = frozenset(), False
        self._off_hours = frozenset[str]()
        self._problem = self._failing_since_s = None
        self._attempt, self._retry_s = 0, 0.0
        self._start_thread(inference)

    def _start_thread(self, inference: Inference | None) -> None:
        ahead = self._deadline_s is None and not self._inline and inference is not None
        steps = inference.overlapped() if ahead and inference is not None else None
        self._model = _Model(self._reopen, inference, self._timed, steps, self._share)
        shared = self._share
        infer, notify = (self._model.infer, None) if shared is None else (self._model.infer_in_turn, shared.notify)
        self._worker: Worker[Frame, Frame] | Inline[Frame, Frame] = (
            Inline(self._model.infer, finish=self._model.close)
            if self._deadline_s is None and self._inline
            else Worker(infer, "inference", self._model.close, notify)
        )

    def _reopen(self) -> Inference:
        """Build the model again, with the current switches. Runs on the inference thread."""
        inference = self._open()
        for name, enabled in self._enabled.items():
            inference.set_enabled(name, enabled and name not in self._degraded | self._off_hours)
        inference.relax(self._relaxed)
        return inference

    def _apply_switches(self) -> None:
        if self._inference is not None:
            self._switch(set(self._enabled) - set(self.failed_heads()))
            self._inference.relax(self._relaxed)

    def _switch(self, names: Collection[str]) -> None:
        if self._inference is None:
            return
        for name in names:
            enabled = self._enabled[name] and name not in self._degraded | self._off_hours
            if self._inference.enabled()[name] != enabled:
                self._inference.set_enabled(name, enabled)

    def _rebuild(self, reason: str, *, hung: bool) -> None:
        """Abandon the thread and its model, and start another thread, which builds the model with its first frame.

        Raises BackendError if too many threads hang.
        """
        now_s = time.monotonic()
        if self._share is not None:
            self._share.record_failure(hung=hung, attempt=self._attempt)
        self._worker.close(0)  # unless it hangs, the thread closes its model and ends
        if hung and isinstance(self._worker, Worker):
            self._abandoned.add(self._worker)
        if self._failing_since_s is None:
            self._failing_since_s = self._submitted_s if hung else now_s
        if reason != self._problem:
            _LOG.warning("inference: %s; rebuilding the backend", reason)
        self._problem = reason
        self._inference = None
        self._retry_s = now_s + self._backoff.wait_s(self._attempt, self._rng)
        self._attempt += 1
        self.rebuilt += 1
        if self._abandoned.over_limit:
            raise BackendError(f"inference: {reason}; {self._abandoned.count} threads hang; only a new process helps")
        self._start_thread(None)
