"""Error rates, compared with plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.gallery import rates
from tests.gallery.test_people import unit


def people(seed=0, counts=(3, 4, 2, 1, 5), spread=0.6):
    rng = np.random.default_rng(seed)
    found = []
    for count in counts:
        vectors = unit(rng, 1, 8) + rng.normal(scale=spread / 3, size=(count, 8))
        found.append((vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32))
    return found


def test_trials_equal_searches_one_by_one():
    given = people()
    strangers, members = [], []
    for i, each in enumerate(given):
        for k, probe in enumerate(each.astype(np.float64)):
            others = max(float(probe @ other) for j, who in enumerate(given) if j != i for other in who)
            own = [float(probe @ other) for j, other in enumerate(each) if j != k]
            strangers.append(others)
            if own:
                members.append(max(own) if max(own) > others else -1)
    found = rates.trials(given)
    np.testing.assert_allclose(found.strangers, strangers, atol=1e-6)
    np.testing.assert_allclose(found.members, members, atol=1e-6)


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.25, 0.5])
def test_the_threshold_keeps_the_rate_of_false_accepts_and_no_lower_one_does(rate):
    found = rates.trials(people(3))
    threshold = found.threshold(rate)
    assert found.false_accepts(threshold) <= rate
    assert found.false_accepts(threshold - 0.002) > rate


def test_the_equal_error_rate_lies_where_both_errors_meet():
    given = people(1)
    pairs = [(a, i, b, j) for a in range(len(given)) for i in range(len(given[a]))
             for b in range(len(given)) for j in range(len(given[b])) if (a, i) < (b, j)]  # fmt: skip
    scores = [(float(given[a][i] @ given[b][j]), a == b) for a, i, b, j in pairs]
    rate, threshold = rates.equal_error_rate(given)
    genuine, impostor = [s for s, same in scores if same], [s for s, same in scores if not same]
    false_rejects = np.mean([s < threshold - 1e-6 for s in genuine])
    false_accepts = np.mean([s >= threshold - 1e-6 for s in impostor])
    assert rate == pytest.approx((false_rejects + false_accepts) / 2, abs=1e-9)
    assert abs(false_rejects - false_accepts) <= 1 / len(genuine) + 1 / len(impostor)


def test_rank_1_enrolls_the_first_picture_of_each():
    first, second = np.eye(4, dtype=np.float32)[:2]
    assert rates.rank_1([np.stack([first, first]), np.stack([second, first])]) == 0.5
    assert rates.rank_1([first[None], second[None]]) == 0.0
