"""What each step takes: a + b * share of the area, milliseconds. Measured once on the device and kept in a file.

Every decision is made by these numbers and never by a stopwatch, so that a replay decides as it did before.
Not here: which steps there are (units.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds: a for the call, b for the whole area."""

    a: float
    b: float

    def __call__(self, share: float) -> float:
        return self.a + self.b * share


@dataclass(frozen=True, slots=True)
class Costs:
    """dense: everything at once, the fastest way. units: by name. look: change detection. plan: what a frame that is
    computed in parts takes besides them: boxes, their plan, bookkeeping.
    """

    dense: float
    units: Mapping[str, Cost]
    look: float = 0.3
    plan: float = 0.5

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


class Stopwatch:
    """Time by name, milliseconds; the middle of what was noted, so that rare interruptions drop out.

    clock: seconds. By default CPU time of this thread: by the clock on the wall, another program on the same core would
    make a step look expensive for ever. While an NPU computes this thread waits, and only the wall's knows.
    """

    def __init__(self, clock: Clock = time.thread_time) -> None:
        self._clock = clock
        self._noted: dict[str, list[float]] = {}

    def time(self, name: str, call: Callable[[], object]) -> None:
        start = self._clock()
        call()
        self._noted.setdefault(name, []).append((self._clock() - start) * 1e3)

    def ms(self, name: str) -> float:
        """Less the first time, in which engines allocate."""
        return middle(self._noted[name][1:])


def middle(values: Sequence[float]) -> float:
    """The median, the upper one of two: `statistics` takes 0.5 MB."""
    return sorted(values)[len(values) // 2]
