"""assign, compared with all possible assignments."""

from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from edge_app.tracking.assignment import assign

GAINS = st.tuples(st.integers(1, 6), st.integers(1, 5)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=st.sampled_from([0, 0.1, 0.2, 0.35, 0.5, 0.55, 0.8, 0.9]))
)


def best_sum(gain, least):
    allowed = np.where(gain >= least, gain, 0)
    rows, columns = allowed.shape
    padded = np.zeros((rows, max(rows, columns)))
    padded[:, :columns] = allowed
    return max(sum(padded[i, j] for i, j in enumerate(order)) for order in permutations(range(padded.shape[1]), rows))


@given(GAINS)
def test_the_sum_of_gains_is_the_greatest_possible(gain):
    rows, columns = assign(gain, 0.2)
    assert len(set(rows.tolist())) == len(rows)
    assert len(set(columns.tolist())) == len(columns)
    assert (gain[rows, columns] >= 0.2).all()
    assert np.isclose(gain[rows, columns].sum(), best_sum(gain, 0.2))


def test_a_row_takes_its_second_best_column_if_the_sum_is_greater():
    """Column 0 is best for both rows; row 1 has no other candidate."""
    rows, columns = assign(np.array([[0.9, 0.8], [0.85, 0.0]]), 0.1)
    assert list(zip(rows, columns)) == [(0, 1), (1, 0)]


def test_gains_below_the_least_are_not_paired():
    rows, columns = assign(np.full((3, 2), 0.05), 0.1)
    assert len(rows) == len(columns) == 0
