"""Tables are aligned, and missing figures are shown as such."""

import json
from dataclasses import dataclass

from edge_app.bench import tables


@dataclass(frozen=True)
class Figures:
    fps: float
    syncs: int | None


def test_the_first_column_is_aligned_left_and_the_others_right():
    assert tables.align([("", "a", "bb"), ("name", "10", "2")]) == ["       a  bb", "name  10   2"]


def test_a_figure_that_was_not_measured_is_a_dash():
    assert tables.field_table(Figures(2.5, None)) == "fps    2.5\nsyncs    -"
    assert json.loads(tables.field_json(Figures(2.5, None))) == {"fps": 2.5, "syncs": None}
