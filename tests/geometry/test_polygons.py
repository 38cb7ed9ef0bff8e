"""polygons: the point-in-polygon test against a slow reference; which polygons and lines are rejected."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.errors import OptionError
from edge_app.geometry.polygons import anchor_points, foot_points, inside, line_of, polygon_of

UNIT = st.floats(0, 1, allow_nan=False)


def winds_around(point, polygon):
    """Reference point-in-polygon test: the sum of the signed angles between successive corners."""
    total = 0.0
    for a, b in zip(polygon, np.roll(polygon, -1, axis=0)):
        u, v = a - point, b - point
        total += math.atan2(u[0] * v[1] - u[1] * v[0], u @ v)
    return abs(total) > math.pi


@st.composite
def star_polygons(draw):
    """Simple polygons: corners sorted by their angle around a center point."""
    gaps = np.array(draw(st.lists(st.floats(0.6, 1), min_size=3, max_size=9)))  # no gap reaches half a turn
    angles = draw(st.floats(0, 6)) + np.cumsum(gaps / gaps.sum() * 2 * math.pi)
    radii = draw(st.lists(st.floats(0.05, 0.5), min_size=len(angles), max_size=len(angles)))
    return np.array([(0.5 + r * math.cos(a), 0.5 + r * math.sin(a)) for a, r in zip(angles, radii)])


@given(star_polygons(), st.lists(st.tuples(UNIT, UNIT), min_size=1, max_size=20))
def test_inside_agrees_with_the_winding_angle(polygon, points):
    points = np.array(points)
    sides = np.roll(polygon, -1, axis=0) - polygon
    off_border = [
        np.abs(sides[:, 0] * (p - polygon)[:, 1] - sides[:, 1] * (p - polygon)[:, 0]).min() > 1e-6 for p in points
    ]
    expected = np.array([winds_around(p, polygon) for p in points])
    assert (inside(points, polygon) == expected)[off_border].all()


GRID = st.integers(0, 1000).map(lambda n: n / 1000)


@given(st.lists(st.tuples(GRID, GRID), min_size=3, max_size=3, unique=True), st.tuples(GRID, GRID), UNIT)
def test_a_point_on_an_edge_that_two_polygons_share_is_in_exactly_one(corners, fourth, share):
    (a, b, c), d = np.array(corners), np.array(fourth)
    if winds(a, b, c) * winds(a, b, d) < 0:  # c and d are on both sides of a-b
        on_edge = (a + share * (b - a))[None]
        first, second = inside(on_edge, np.array([a, b, c])), inside(on_edge, np.array([b, a, d]))
        assert first[0] + second[0] <= 1
        middle = (a + 0.5 * (b - a))[None]
        if np.abs(winds(a, b, c)) > 1e-3 and np.abs(winds(a, b, d)) > 1e-3:
            assert inside(middle, np.array([a, b, c]))[0] + inside(middle, np.array([b, a, d]))[0] == 1


def winds(a, b, c):
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


@pytest.mark.parametrize(("anchor", "expected"), [("bottom", (0.5, 0.9)), ("center", (0.5, 0.7)), ("top", (0.5, 0.5))])
def test_the_anchor_is_on_the_box(anchor, expected):
    assert anchor_points(np.array([[40.0, 50, 60, 90]]), (100, 100), anchor)[0] == pytest.approx(expected)


@given(
    st.lists(st.tuples(*[st.floats(-100, 800, width=32)] * 4), max_size=5), st.sampled_from(["bottom", "center", "top"])
)
def test_every_anchor_is_on_a_pixel_of_the_image(boxes, anchor):
    xyxy = np.array(boxes, np.float32).reshape(-1, 4)
    points = anchor_points(xyxy, (640, 480), anchor)
    assert points.shape == (len(boxes), 2)
    assert ((points >= 0) & (points <= (1 - 1 / 640, 1 - 1 / 480))).all()


@given(star_polygons())
def test_accepts_simple_polygons(polygon):
    assert polygon_of("polygon", [tuple(p) for p in polygon.tolist()]).shape == polygon.shape


@pytest.mark.parametrize(
    "points",
    [
        [(0.1, 0.1), (0.9, 0.9)],
        [(0.1, 0.1), (0.9, 0.9), (0.9, 0.1), (0.1, 0.9)],  # a bow tie
        [(0.1, 0.1), (0.5, 0.5), (0.9, 0.9)],  # no area
        [(0.1, 0.1), (0.1, 0.1), (0.9, 0.9), (0.1, 0.9)],  # a side of no length
        [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.0), (0.0, 1.0)],  # touches itself
    ],
)
def test_rejects_polygons_that_are_not_simple(points):
    with pytest.raises(OptionError, match="polygon"):
        polygon_of("polygon", points)


def test_a_closed_polygon_is_the_same_as_an_open_one():
    corners = [(0.1, 0.1), (0.9, 0.1), (0.5, 0.9)]
    np.testing.assert_array_equal(polygon_of("polygon", [*corners, corners[0]]), corners)


def test_rejects_a_line_of_length_0():
    with pytest.raises(OptionError, match=r"length 0 at \[0.5, 0.5\]"):
        line_of("line", ((0.5, 0.5), (0.5, 0.5)))


def test_feet_are_the_mean_of_the_ankles_that_are_seen_else_the_point_given():
    keypoints = np.zeros((4, 17, 3), np.float32)
    keypoints[:, 15] = [[10, 80, 0.9], [10, 80, 0.9], [10, 80, 0.2], [-5, 300, 0.9]]
    keypoints[:, 16] = [[20, 90, 0.6], [20, 90, 0.1], [20, 90, 0.2], [-5, 300, 0.9]]
    points = np.full((4, 2), 0.25)
    found = foot_points(points, keypoints, (200, 100))
    np.testing.assert_allclose(found, [[0.075, 0.85], [0.05, 0.8], [0.25, 0.25], [0, 0.99]], atol=1e-6)


def test_keypoints_without_ankles_do_not_count():
    points = np.full((1, 2), 0.25)
    assert foot_points(points, None, (200, 100)) is points
    assert foot_points(points, np.ones((1, 5, 3), np.float32), (200, 100)) is points
