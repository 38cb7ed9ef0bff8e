"""The limit of all state topics: at most 2 messages and 2,000 bytes in any second."""

from hypothesis import given
from hypothesis import strategies as st

from edge_app.state import Budget


@given(st.lists(st.tuples(st.floats(0, 0.7), st.integers(1, 2500)), max_size=60))
def test_no_window_of_a_second_exceeds_the_budget(attempts):
    budget, now_s, sent = Budget(), 100.0, []
    for wait_s, size in attempts:
        now_s += wait_s
        if budget.take(size, now_s):
            sent.append((now_s, size))
    for start_s, _ in sent:
        window = [size for at_s, size in sent if start_s <= at_s < start_s + 1]
        assert len(window) <= 2
        assert sum(window) <= 2000


def test_the_budget_returns_after_a_second():
    budget = Budget()
    assert [budget.take(10, at_s) for at_s in (0.0, 0.1, 0.2, 1.0, 1.05, 1.1)] == [True, True, False, True, False, True]


def test_a_clock_that_goes_back_does_not_block():
    budget = Budget()
    assert budget.take(10, 100.0)
    assert budget.take(10, 100.0)
    assert budget.take(10, 5.0)
