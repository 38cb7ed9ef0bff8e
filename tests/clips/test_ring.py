"""The images in memory."""

from __future__ import annotations

from edge_app.clips.jpeg import Still
from edge_app.clips.ring import Ring


def filled(times: list[int], size: int = 10) -> Ring:
    ring = Ring()
    for time in times:
        ring.add(Still(time, time, (2, 2), bytes(size)))
    return ring


def times(stills) -> list[int]:
    return [still.captured_ns for still in stills]


def test_keeps_what_was_visible_at_the_earliest_time_that_is_needed():
    ring = filled([0, 10, 20, 30])
    ring.trim(15, 10**6)
    assert times(ring.between(15, 100)) == [15, 20, 30]
    assert ring.bytes == 30


def test_drops_the_oldest_images_over_the_limit_but_never_the_latest():
    ring = filled(list(range(10)))
    ring.trim(0, 35)
    assert times(ring.between(0, 100)) == [7, 8, 9]
    ring.trim(0, -5)
    assert times(ring.between(0, 100)) == [9]
    assert (len(ring), ring.bytes) == (1, 10)


def test_a_part_begins_with_what_was_visible_at_its_start_and_ends_at_its_end():
    ring = filled([0, 10, 20, 30])
    assert times(ring.between(15, 25)) == [15, 20]
    assert times(ring.between(-5, 5)) == [0]


def test_an_image_before_a_long_gap_gets_the_time_of_the_start():
    ring = filled([0, 10, 1000, 1010])
    found = ring.between(990, 2000)
    assert [(still.captured_ns, still.utc_ns) for still in found] == [(990, 990), (1000, 1000), (1010, 1010)]


def test_images_of_another_size_are_not_mixed():
    ring = filled([0, 10])
    ring.add(Still(20, 20, (4, 4), bytes(5)))
    assert times(ring.between(0, 100)) == [20]
    assert ring.bytes == 5
