"""StageTimer, compared with numpy on the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.pipeline.timing import StageTimer


def test_the_mean_is_of_all_calls_and_percentiles_of_the_last_512():
    timer = StageTimer()
    spent = np.random.default_rng(0).integers(1, 10_000_000, 2000)
    for value in spent:
        timer.record(int(value))
    found = timer.stats()
    assert found.calls == 2000
    assert found.mean_ms == pytest.approx(spent.mean() / 1e6)
    assert found.p50_ms == pytest.approx(np.percentile(spent[-512:], 50) / 1e6)
    assert found.p99_ms == pytest.approx(np.percentile(spent[-512:], 99) / 1e6)


def test_a_stage_that_raises_is_timed():
    timer = StageTimer()
    with pytest.raises(ZeroDivisionError):
        timer.timed(lambda x: 1 / x, 0)
    assert timer.stats().calls == 1


def test_without_calls_all_times_are_zero():
    assert StageTimer().stats().p99_ms == 0.0
