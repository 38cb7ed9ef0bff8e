"""The Pareto front of a report and its plot."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import pytest

pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim.shrink import pareto
from edge_app.slim.shrink.pareto import Point

pytestmark = pytest.mark.system
POINTS = [Point("base", 10, 0.9), Point("worse", 12, 0.8), Point("small", 5, 0.85), Point("<b>", 5, 0.5, control=True)]


def test_the_front_has_the_points_that_none_dominates():
    assert [point.name for point in pareto.front(POINTS)] == ["small", "base"]


def test_the_plot_is_valid_and_names_every_point():
    root = ElementTree.fromstring(pareto.svg(POINTS, "cycles", "figure"))
    titles = [each.text for each in root.iter("title")]
    assert [title.split(":")[0] for title in titles] == ["base", "worse", "small", "<b>"]
    assert pareto.svg([], "cycles", "figure") == ""
