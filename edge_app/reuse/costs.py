"""The cost model: a call takes a + b * share of the area, in milliseconds, for each segment of the model.

Costs are measured once on the device (calibrate.py) and stored (cost_file.py). All decisions use these numbers and
never a live timing, so a replay repeats the decisions of the first run.
Not here: which segments exist (segments.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Clock = Callable[[], float]  # seconds


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of running one segment. a: milliseconds per call; b: milliseconds for the whole area."""

    a: float
    b: float

    def __call__(self, share: float) -> float:
        """Milliseconds to compute this share of the area, 0..1."""
        return self.a + self.b * share


@dataclass(frozen=True, slots=True)
class Costs:
    """The costs of one model on one machine, in milliseconds.

    dense: the whole network as one graph. segments: by segment name. detect: change detection. plan: the bookkeeping of
    a partial frame, such as boxes and cost prediction. assumed: not measured, so that only the proportions mean
    something.
    """

    dense: float
    segments: Mapping[str, Cost]
    detect: float = 0.3
    plan: float = 0.5
    assumed: bool = False

    @property
    def all_segments(self) -> float:
        """The whole network, segment by segment."""
        return sum(cost(1.0) for cost in self.segments.values())


def assumed_costs(work: Mapping[str, float]) -> Costs:
    """Costs for a machine without measurements. work: by segment, a number in proportion to its operations."""
    total = sum(work.values()) or 1.0
    return Costs(
        20.0, {name: Cost(0.05, 20.0 * segment_work / total) for name, segment_work in work.items()}, assumed=True
    )


def fit_cost(small: tuple[float, float], whole: float) -> Cost:
    """Fit a line through two timings. small: a share of the area and its milliseconds; whole: milliseconds for all."""
    share, ms = small
    b = max(0.0, (whole - ms) / (1 - share)) if share < 1 else whole
    return Cost(max(0.0, whole - b), b)


class Stopwatch:
    """Collects timings by name, in milliseconds. Uses the median, so that rare interruptions do not count.

    clock: returns seconds. The default is CPU time of this thread: with wall-clock time, another program on the same
    core would make a segment look expensive permanently. On an NPU the thread waits, so the caller passes a wall clock.
    """

    def __init__(self, clock: Clock = time.thread_time) -> None:
        self._clock = clock
        self._timings: dict[str, list[float]] = {}

    def time(self, name: str, call: Callable[[], object]) -> None:
        """Run `call` and record its time under `name`."""
        start = self._clock()
        call()
        self._timings.setdefault(name, []).append((self._clock() - start) * 1e3)

    def ms(self, name: str) -> float:
        """The median, without the first run, in which engines allocate memory."""
        return median(self._timings[name][1:])


def median(values: Sequence[float]) -> float:
    """The median; the upper one of two. Importing `statistics` would take 0.5 MB."""
    return sorted(values)[len(values) // 2]
