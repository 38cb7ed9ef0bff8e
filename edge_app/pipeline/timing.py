"""Processing times of the stages: counts, means and recent percentiles, in bounded memory.

A replay does not publish them.
"""

from __future__ import annotations

import time
from array import array
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_BOUNDS_NS = tuple(round(bound * 1e9) for bound in BOUNDS_S)
_RECENT = 512

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class StageStats:
    """One stage: calls, mean of all, median and 99th percentile of the last 512. Milliseconds of wall time.

    buckets: calls by their time: up to each of BOUNDS_S, and longer.
    """

    calls: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    buckets: tuple[int, ...] = (0,) * (len(BOUNDS_S) + 1)


class StageTimer:
    """Measures the calls of one stage. Used by one thread; any thread may call `stats`."""

    def __init__(self) -> None:
        self._calls = 0
        self._total_ns = 0
        self._recent_ns = array("q", [0]) * _RECENT
        self._buckets = [0] * (len(BOUNDS_S) + 1)

    def timed(self, stage: Callable[[In], Out], argument: In) -> Out:
        """Call the stage and record how long it took, even if it raises."""
        begin = time.perf_counter_ns()
        try:
            return stage(argument)
        finally:
            self.record(time.perf_counter_ns() - begin)

    def record(self, spent_ns: int) -> None:
        self._recent_ns[self._calls % _RECENT] = spent_ns
        self._buckets[bisect_left(_BOUNDS_NS, spent_ns)] += 1
        self._calls += 1
        self._total_ns += spent_ns

    def stats(self) -> StageStats:
        recent = self._recent_ns[: min(self._calls, _RECENT)]
        if not recent:
            return StageStats(0, 0.0, 0.0, 0.0)
        ranks = np.array((0.50, 0.99)) * (len(recent) - 1)
        # np.percentile would import numpy.ma, which takes 1.6 MB
        p50, p99 = np.interp(ranks, np.arange(len(recent)), np.sort(recent)) / 1e6
        mean_ms = self._total_ns / self._calls / 1e6
        return StageStats(self._calls, mean_ms, float(p50), float(p99), tuple(self._buckets))
