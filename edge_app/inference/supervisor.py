"""The inference thread, and what becomes of it when its backend fails or hangs: torn down, rebuilt with backoff.

The thread builds, uses and closes its model itself: engines tie theirs to a thread. One that hangs cannot be ended, it
is left behind and closes its model should it ever return. Not here: inference itself, a head that fails (inference.py).
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Collection, Mapping

from edge_app.backoff import Backoff
from edge_app.errors import BackendError, EdgeError
from edge_app.frame import Frame, JsonValue
from edge_app.inference.stage import Inference
from edge_app.threads import Inline, Worker

_LOG = logging.getLogger(__name__)
_MAX_HANGING = 3  # threads left behind; each may hold a model's memory, so beyond only a new process helps
_SLICE_S = 0.1

Open = Callable[[], Inference]
Timed = Callable[[Callable[[Frame], Frame], Frame], Frame]  # calls a stage with a frame, and measures the call


class _Model:
    """What one inference thread holds."""

    def __init__(self, open_model: Open, inference: Inference | None, timed: Timed) -> None:
        self._open = open_model
        self._timed = timed
        self.inference = inference

    def infer(self, frame: Frame) -> Frame:
        if self.inference is None:
            self.inference = self._open()
        return self._timed(self.inference.infer, frame)

    def close(self) -> None:
        if self.inference is not None:
            self.inference.close()


class InferenceSupervisor:
    """One frame at a time through the model. Used by one thread.

    timed: calls inference and measures it.
    open_model: builds the model; called at once, where it raises EdgeError, and again after each failure.
    deadline_s: what one inference may take. None: it may take any time, on the caller's thread; failures are raised
    and nothing is rebuilt, as a replay needs it.
    """

    def __init__(
        self,
        open_model: Open,
        timed: Timed,
        deadline_s: float | None,
        *,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._timed = timed
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._hanging: list[Worker[Frame, Frame] | Inline[Frame, Frame]] = []
        self._wanted: dict[str, bool] = {}
        self._shed: frozenset[str] = frozenset()
        self._eased = False
        self._inference: Inference | None = None
        self._problem: str | None = None
        self._failing_since_s: float | None = None
        self.rebuilt = self._attempt = 0
        self._retry_s = self._submitted_s = 0.0
        self._take(open_model, open_model(), deadline_s)

    @property
    def busy(self) -> bool:
        """Whether a frame is in flight."""
        return self._worker.busy

    @property
    def problem(self) -> str | None:
        """Why there is no backend now, or None."""
        return self._problem

    @property
    def well(self) -> bool:
        """Whether there is a backend and no head has failed."""
        return self._problem is None and not self.failed_heads()

    def wait_s(self) -> float:
        """Seconds until a frame may be submitted: more than 0 only behind a failure."""
        return max(0.0, self._retry_s - time.monotonic())

    def submit(self, frame: Frame) -> None:
        self._submitted_s = time.monotonic()
        self._worker.submit(frame)

    def result(self, timeout_s: float) -> Frame | None:
        """The frame in flight; None where it is not done yet, or was lost with its backend.

        Raises BackendError where only a new process helps; without a deadline whatever inference raised.
        """
        try:
            frame = self._worker.result(None if self._deadline_s is None else timeout_s)
        except TimeoutError:
            if self._late_s() > 0:
                self._give_up(f"no answer for {self._deadline_s:g} s", hangs=True)
            return None
        except EdgeError as exc:
            if self._deadline_s is None:
                raise
            self._give_up(str(exc), hangs=False)
            return None
        if self._problem is not None:
            _LOG.warning("inference works again, after %d attempts", self._attempt)
        self._problem, self._attempt, self._failing_since_s = None, 0, None
        if self._inference is None:  # built anew: by what was wanted when that began
            self._inference = self._model.inference
            self._apply_shed()
        return frame

    def stuck(self) -> str | None:
        """What has gone on for longer than an inference may take, or None: for the watchdog."""
        now_s = time.monotonic()
        if self._failing_since_s is not None and now_s - self._failing_since_s > (self._deadline_s or 0):
            return f"inference has failed for {now_s - self._failing_since_s:.0f} s: {self._problem}"
        return None

    def settle(self) -> Frame | None:
        """Wait for the frame in flight, at most for its deadline, so that nothing is."""
        frame = None
        while self.busy and frame is None:
            frame = self.result(_SLICE_S)
        return frame

    def replace(self, open_model: Open, inference: Inference, deadline_s: float | None) -> None:
        """Go on with another model; nothing may be in flight."""
        self._worker.close(0)
        self._take(open_model, inference, deadline_s)

    @property
    def backend(self) -> str:
        return self._inference.backend if self._inference is not None else "none"

    def heads(self) -> dict[str, bool]:
        """By name, whether it runs: switched on, not shed, not failing."""
        return dict.fromkeys(self._wanted, False) if self._inference is None else self._inference.enabled()

    def failed_heads(self) -> dict[str, str]:
        """Heads that were switched off because they failed, and why."""
        return {} if self._inference is None else self._inference.failed()

    def reuse_stats(self) -> Mapping[str, JsonValue]:
        """What was answered without computing all of it; empty where nothing is reused, or there is no model now."""
        return {} if self._inference is None else self._inference.reuse_stats()

    def refresh(self) -> None:
        """Reuse nothing for the next frame."""
        if self._inference is not None:
            self._inference.refresh()

    def set_enabled(self, name: str, enabled: bool) -> None:
        """Switch a head from the next frame on; it stays so across a rebuild. Raises KeyError where there is none."""
        if name not in self._wanted:
            raise KeyError(name)
        self._wanted[name] = enabled
        self._switch([name])

    def shed(self, names: Collection[str], *, ease_reuse: bool = False) -> None:
        """Leave out these heads, and only these, beside those that are switched off. It stays so across a rebuild.

        ease_reuse: reuse more than was configured.
        """
        self._shed, self._eased = frozenset(names), ease_reuse
        self._apply_shed()

    @property
    def reuses(self) -> bool:
        """Whether the model, as it was when it was taken, reuses anything."""
        return self._reuses

    def close(self, timeout_s: float = 5.0) -> None:
        self._worker.close(timeout_s)

    def _take(self, open_model: Open, inference: Inference, deadline_s: float | None) -> None:
        self._open, self._deadline_s = open_model, deadline_s
        self._inference = inference
        self._reuses = inference.reuses
        self._wanted, self._shed, self._eased = inference.enabled(), frozenset(), False
        self._problem = self._failing_since_s = None
        self._attempt, self._retry_s = 0, 0.0
        self._start(inference)

    def _start(self, inference: Inference | None) -> None:
        self._model = _Model(self._reopen, inference, self._timed)
        self._worker: Worker[Frame, Frame] | Inline[Frame, Frame] = (
            Inline(self._model.infer, finish=self._model.close)
            if self._deadline_s is None
            else Worker(self._model.infer, "inference", finish=self._model.close)
        )

    def _reopen(self) -> Inference:
        """Build the model anew, on the inference thread, with the heads switched as they are wanted."""
        inference = self._open()
        for name, enabled in self._wanted.items():
            inference.set_enabled(name, enabled and name not in self._shed)
        inference.ease(self._eased)
        return inference

    def _apply_shed(self) -> None:
        """Do without what is shed, where there is a model now."""
        if self._inference is not None:
            self._switch(set(self._wanted) - set(self.failed_heads()))
            self._inference.ease(self._eased)

    def _switch(self, names: Collection[str]) -> None:
        for name in names if self._inference is not None else ():
            assert self._inference is not None
            wanted = self._wanted[name] and name not in self._shed
            if self._inference.enabled()[name] != wanted:
                self._inference.set_enabled(name, wanted)

    def _late_s(self) -> float:
        return time.monotonic() - self._submitted_s - (self._deadline_s or 0)

    def _give_up(self, reason: str, *, hangs: bool) -> None:
        """Leave this thread and its model to themselves and start another, which builds the model with its first frame.

        Raises BackendError where too many threads hang.
        """
        now_s = time.monotonic()
        if hangs:
            self._hanging = [worker for worker in (*self._hanging, self._worker) if worker.alive]
        self._worker.close(0)  # a thread that has not hung closes its model and ends
        if self._failing_since_s is None:
            self._failing_since_s = self._submitted_s if hangs else now_s
        if reason != self._problem:
            _LOG.warning("inference: %s; building the backend anew", reason)
        self._problem = reason
        self._inference = None
        self._retry_s = now_s + self._backoff.wait_s(self._attempt, self._rng)
        self._attempt += 1
        self.rebuilt += 1
        if len(self._hanging) > _MAX_HANGING:
            raise BackendError(f"inference: {reason}; {len(self._hanging)} threads hang, only a new process helps")
        self._start(None)
