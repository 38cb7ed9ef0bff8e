"""The cost model and the stopwatch that its numbers come from."""

from __future__ import annotations

import pytest

from edge_app.reuse.costs import Stopwatch, assumed_costs, fit_cost


def test_a_cost_is_fitted_through_two_timings():
    cost = fit_cost((0.1, 2.0), 11.0)
    assert (cost(0.1), cost(1.0)) == (pytest.approx(2.0), pytest.approx(11.0))


def test_assumed_costs_are_proportional_to_the_work():
    costs = assumed_costs({"a": 1.0, "b": 3.0})
    assert costs.segments["b"].b == pytest.approx(3 * costs.segments["a"].b)


def test_a_stopwatch_ignores_the_first_run_and_interruptions():
    watch, iterations = Stopwatch(), iter([200_000, 10, 10, 10, 200_000])
    for _ in range(5):
        watch.time("sum", lambda: sum(range(next(iterations))))
    assert watch.ms("sum") < 1
