"""How long each stage takes: counts, means and recent percentiles, in bounded memory. Never published by a replay."""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

_RECENT = 512

In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True, slots=True)
class StageStats:
    """One stage: calls so far, mean of all, median and 99th percentile of the last 512, milliseconds of wall time."""

    calls: int
    mean_ms: float
    p50_ms: float
    p99_ms: float


class StageTimer:
    """Times the calls of one stage. Used by one thread; `stats` may be read by another."""

    def __init__(self) -> None:
        self._calls = 0
        self._total_ns = 0
        self._recent_ns = array("q", [0]) * _RECENT

    def timed(self, stage: Callable[[In], Out], argument: In) -> Out:
        """Call the stage and note how long it took, also when it raises."""
        begin = time.perf_counter_ns()
        try:
            return stage(argument)
        finally:
            self.note(time.perf_counter_ns() - begin)

    def note(self, spent_ns: int) -> None:
        self._recent_ns[self._calls % _RECENT] = spent_ns
        self._calls += 1
        self._total_ns += spent_ns

    def stats(self) -> StageStats:
        recent = self._recent_ns[: min(self._calls, _RECENT)]
        if not recent:
            return StageStats(0, 0.0, 0.0, 0.0)
        ranks = np.array((0.50, 0.99)) * (len(recent) - 1)
        # np.percentile would load numpy.ma, 1.6 MB
        p50, p99 = np.interp(ranks, np.arange(len(recent)), np.sort(recent)) / 1e6
        return StageStats(self._calls, self._total_ns / self._calls / 1e6, float(p50), float(p99))
