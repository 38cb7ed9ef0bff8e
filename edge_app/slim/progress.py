"""The steps of a training as a bar on a terminal, else as lines."""

from __future__ import annotations

import sys
import time

_LINE_EVERY_S = 10.0
_SMOOTHING = 0.95  # of the loss that is printed


class StepProgress:
    """Steps, the loss and the time that is left: a bar on a terminal, else a line from time to time."""

    def __init__(self, name: str, first: int, steps: int) -> None:
        from tqdm import tqdm

        self._name = name
        self._first, self._steps, self._loss = first, steps, 0.0
        self._bar = tqdm(total=steps, initial=first, desc=name, unit=" steps", file=sys.stderr, disable=None)
        self._start_s = self._printed_s = time.monotonic()
        if first:
            print(f"{name}: resumes after step {first} of {steps}", file=sys.stderr, flush=True)

    def update(self, step: int, loss: float) -> None:
        self._loss = loss if step <= self._first + 1 else _SMOOTHING * self._loss + (1 - _SMOOTHING) * loss
        now_s = time.monotonic()
        if not self._bar.disable:
            self._bar.set_postfix_str(f"loss {self._loss:.3f}", refresh=False)
            self._bar.update()
        elif now_s - self._printed_s >= _LINE_EVERY_S or step in (self._first + 1, self._steps):
            self._printed_s = now_s
            left_s = (now_s - self._start_s) / (step - self._first) * (self._steps - step)
            state = f"step {step} of {self._steps}, loss {self._loss:.3f}, {left_s:.0f} s left"
            print(f"{self._name}: {state}", file=sys.stderr, flush=True)

    def close(self) -> None:
        self._bar.close()
