"""Readings of two methods are compared in order."""

from edge_app.bench.reuse.reading_log import ReadingComparison, compare_readings


def test_loses_nothing_if_both_read_the_same():
    assert compare_readings([("12", 3), ("13", 40)], [("12", 3), ("13", 42)]) == ReadingComparison(2, 0, 2)


def test_counts_a_missing_reading_as_lost():
    assert compare_readings([("12", 3), ("13", 40), ("14", 60)], [("12", 4), ("14", 60)]) == ReadingComparison(3, 1, 1)


def test_matches_the_same_text_only_once():
    assert compare_readings([("7", 3), ("8", 20), ("7", 40)], [("7", 3), ("8", 20)]) == ReadingComparison(3, 1, 0)
