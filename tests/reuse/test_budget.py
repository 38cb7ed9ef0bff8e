"""The time budget: its average, and the limit of what can be saved."""

from __future__ import annotations

import pytest

from edge_app.reuse.budget import TimeBudget


def test_a_budget_allows_as_much_as_was_earned():
    budget = TimeBudget(2.0)
    spent = 0.0
    for _ in range(1000):
        budget.earn()
        if budget.spend(10.0):
            spent += 10.0
    assert spent == pytest.approx(2000, rel=0.02)


def test_savings_are_limited():
    budget = TimeBudget(1.0)
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend(1.0) for _ in range(100)) <= 5
