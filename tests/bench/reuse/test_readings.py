"""Readings are compared in order."""

from edge_app.bench.reuse.readings import Compared, compared


def test_nothing_is_lost_where_both_read_the_same():
    assert compared([("12", 3), ("13", 40)], [("12", 3), ("13", 42)]) == Compared(2, 0, 2)


def test_a_reading_that_never_came_is_lost():
    assert compared([("12", 3), ("13", 40), ("14", 60)], [("12", 4), ("14", 60)]) == Compared(3, 1, 1)


def test_an_early_reading_of_the_same_text_is_not_the_later_one():
    assert compared([("7", 3), ("8", 20), ("7", 40)], [("7", 3), ("8", 20)]) == Compared(3, 1, 0)
