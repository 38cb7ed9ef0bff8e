"""ReadingLog are compare_readings in order."""

from edge_app.bench.reuse.reading_log import ReadingComparison, compare_readings


def test_nothing_is_lost_where_both_read_the_same():
    assert compare_readings([("12", 3), ("13", 40)], [("12", 3), ("13", 42)]) == ReadingComparison(2, 0, 2)


def test_a_reading_that_never_came_is_lost():
    assert compare_readings([("12", 3), ("13", 40), ("14", 60)], [("12", 4), ("14", 60)]) == ReadingComparison(3, 1, 1)


def test_an_early_reading_of_the_same_text_is_not_the_later_one():
    assert compare_readings([("7", 3), ("8", 20), ("7", 40)], [("7", 3), ("8", 20)]) == ReadingComparison(3, 1, 0)
