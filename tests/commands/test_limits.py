"""The rate limit of commands."""

from __future__ import annotations

from edge_app.commands.limits import RateLimit


def test_accepts_a_burst_then_a_rate():
    now = [0.0]
    limit = RateLimit(3, 2, lambda: now[0])
    assert [limit.accepts() for _ in range(5)] == [True, True, True, False, False]
    now[0] = 1.0
    assert [limit.accepts() for _ in range(3)] == [True, True, False]
    now[0] = 1000.0
    assert sum(limit.accepts() for _ in range(10)) == 3


def test_a_flood_is_accepted_at_the_rate():
    now = [0.0]
    limit = RateLimit(10, 2, lambda: now[0])
    accepted = 0
    for i in range(10_000):
        now[0] = i / 1000
        accepted += limit.accepts()
    assert accepted == 10 + 19
