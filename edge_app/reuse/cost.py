"""What each step takes: a + b * share of the area, milliseconds. Measured once on the device and kept in a file.

Every decision is made by these numbers and never by a stopwatch, so that a replay decides as it did before.
Not here: which steps there are (units.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds: a for the call, b for the whole area."""

    a: float
    b: float

    def __call__(self, share: float) -> float:
        return self.a + self.b * share


@dataclass(frozen=True, slots=True)
class Costs:
    """dense: everything at once, the fastest way. units: by name. look: change detection and decision."""

    dense: float
    units: Mapping[str, Cost]
    look: float = 0.3

    @property
    def apart(self) -> float:
        """Everything, step by step."""
        return sum(cost(1.0) for cost in self.units.values())


def assumed(work: Mapping[str, float]) -> Costs:
    """Costs of a machine that was not measured. work: by step, a number in proportion to its operations."""
    total = sum(work.values()) or 1.0
    units = {name: Cost(0.05, 20.0 * each / total) for name, each in work.items()}
    return Costs(20.0, units)


def fitted(small: tuple[float, float], whole: float) -> Cost:
    """From the time of a part of the area (share, milliseconds) and of the whole."""
    share, ms = small
    b = max(0.0, (whole - ms) / (1 - share)) if share < 1 else whole
    return Cost(max(0.0, whole - b), b)


def timed_ms(call: Callable[[], object], rounds: int) -> float:
    """The least CPU time of this thread over some runs, milliseconds; the first one, which allocates, does not count.

    Not the clock on the wall: another program on the same core would make a step look expensive for ever.
    """
    call()
    best = float("inf")
    for _ in range(rounds):
        start = time.thread_time()
        call()
        best = min(best, time.thread_time() - start)
    return best * 1e3


def in_turns_ms(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """The least CPU time of each call, milliseconds, taken in turns: what one leaves in the caches helps no other."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for i, call in enumerate(calls):
            start = time.thread_time()
            call()
            best[i] = min(best[i], time.thread_time() - start)
    return [each * 1e3 for each in best]
