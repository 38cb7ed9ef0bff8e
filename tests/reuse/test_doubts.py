"""Where cached maps may be wrong: weighted overlap with tiles, bounded memory."""

from __future__ import annotations

import pytest

from edge_app.reuse.doubts import Doubts


def test_doubt_in_a_tile_is_weighted_overlap():
    doubts = Doubts()
    doubts.add("a", (0, 0, 10, 10), 0.5)
    doubts.add("a", (5, 0, 25, 10))
    assert doubts.of("a", (0, 0, 10, 20)) == pytest.approx(0.5 * 100 + 50)
    assert doubts.of("a", (30, 0, 40, 10)) == 0
    assert doubts.of("b", (0, 0, 10, 10)) == 0


def test_taking_the_doubts_of_a_segment_removes_them():
    doubts = Doubts()
    assert not doubts
    doubts.add("a", (0, 0, 10, 10))
    taken = doubts.take("a")
    assert taken.of("a", (0, 0, 10, 10)) == 100
    assert not doubts
    assert not doubts.take("a").of("a", (0, 0, 10, 10))


def test_many_doubts_are_joined_and_none_is_lost():
    doubts = Doubts()
    for x in range(1000):
        doubts.add("a", (x, 0, x + 1, 1))
    assert all(doubts.of("a", (x, 0, x + 1, 1)) > 0 for x in range(1000))
    assert len(doubts._boxes["a"]) <= 64
