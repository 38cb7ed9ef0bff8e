"""Backoff: bounds and distribution of the waits."""

import random

from edge_app.backoff import UPSTREAM, Backoff


def test_the_bound_doubles_and_waits_cover_all_of_it():
    backoff = Backoff(1.0, 30.0)
    for attempt, bound in enumerate([1, 2, 4, 8, 16, 30, 30]):
        waits = [backoff.wait_s(attempt, random.Random(seed)) for seed in range(200)]
        assert waits == [random.Random(seed).uniform(0, bound) for seed in range(200)]
        assert min(waits) < 0.1 * bound < 0.9 * bound < max(waits)
    assert backoff.wait_s(10**6, random.Random(1)) <= 30


def test_a_fleet_is_spread_evenly_over_the_longest_wait():
    rng = random.Random(7)
    waits = [UPSTREAM.wait_s(20, rng) for _ in range(2000)]
    assert min(waits) < 3
    assert 290 < max(waits) <= 300
    assert 140 < sum(waits) / len(waits) < 160
