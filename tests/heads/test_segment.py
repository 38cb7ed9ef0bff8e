"""segment: outlines of known shapes are recovered more precisely than a cell."""

import cv2
import numpy as np
import pytest

from edge_app.geometry.boxes import fit
from tests.heads import plain
from tests.heads.exports import logit

SIZE = (320, 320)
WHOLE = fit(SIZE, SIZE, "stretch")
Y, X = np.mgrid[:40, :40] * 8.0 + 4  # centers of cells of stride 8, input pixels


def disc(x, y, radius):
    """Signed distance (40, 40) to the edge of a disc in input pixels, positive inside."""
    return radius - np.hypot(X - x, Y - y)


def decode(maps, transform=WHOLE, size=SIZE, classes=0, **options):
    outputs = {"mask": np.asarray(maps, np.float32)[None]}
    return plain.build("segment", outputs, size, classes, **options).decode(outputs, transform)


def as_logits(*distances):
    """Logits as of a trained network: saturated 1.5 cells from the border."""
    return [np.clip(d / 2, -6, 6) for d in distances]


@pytest.mark.parametrize("radius", [20, 45, 100])
def test_outlines_are_more_precise_than_a_cell(radius):
    """Within 0.6 pixels for cells of 8 pixels; the smallest disc has a radius of 2.5 cells."""
    result = decode(as_logits(disc(163, 150, radius)), simplify=0.2)
    (polygon,) = result.polygons
    error = np.hypot(polygon[:, 0] - 163, polygon[:, 1] - 150) - radius
    assert np.abs(error).max() < 0.6
    assert cv2.contourArea(polygon) == pytest.approx(np.pi * radius**2, rel=0.04)
    assert result.class_id.tolist() == [0]


def test_simplify_bounds_the_distance_from_the_outline():
    fine, coarse = (decode(as_logits(disc(163, 150, 100)), simplify=px).polygons[0] for px in (0.2, 4.0))
    assert len(coarse) < len(fine) / 3
    assert max(-cv2.pointPolygonTest(fine, p.tolist(), True) for p in coarse) < 0.5  # corners are on the outline
    assert cv2.contourArea(coarse) > 0.93 * cv2.contourArea(fine)


def test_the_score_is_the_mean_probability_inside():
    """Reference: the logits at every pixel of the disc. Tolerance 0.02, because cells blur the border."""
    result = decode(as_logits(disc(160, 160, 90)))
    probability = []
    for y in range(320):
        for x in range(320):
            distance = 90 - np.hypot(x + 0.5 - 160, y + 0.5 - 160)
            if distance > 0:
                probability.append(plain.sigmoid(min(distance / 2, 6)))
    assert result.score[0] == pytest.approx(sum(probability) / len(probability), abs=0.02)


def test_the_threshold_moves_the_outline():
    ramp = (X - 160) / 20  # probability increases to the right, 0.5 at 160
    for threshold in (0.3, 0.5, 0.8):
        (polygon,) = decode([ramp], threshold=threshold).polygons
        assert polygon[:, 0].min() == pytest.approx(160 + 20 * logit(np.array(threshold)), abs=0.1)
        assert polygon[:, 0].max() == 320  # the edge of the image, not the center of the last cell
        assert (polygon[:, 1].min(), polygon[:, 1].max()) == (0, 320)


def test_the_sigmoid_is_not_applied_to_probabilities():
    chance = 1 / (1 + np.exp(-as_logits(disc(163, 150, 60))[0]))
    for result in (decode([chance]), decode([chance], activation="none")):
        error = np.hypot(*(result.polygons[0] - (163, 150)).T) - 60
        assert np.abs(error).max() < 1.5
    assert cv2.contourArea(decode([chance], activation="apply").polygons[0]) > 300 * 300  # as logits, all are above 0


def test_regions_are_sorted_by_size_and_small_ones_left_out():
    maps = [np.maximum(np.maximum(*as_logits(disc(60, 60, 20), disc(200, 200, 60))), as_logits(disc(300, 40, 6))[0])]
    first, second = decode(maps).polygons
    assert cv2.pointPolygonTest(first, (200, 200), False) > 0
    assert cv2.pointPolygonTest(second, (60, 60), False) > 0
    assert len(decode(maps, max_regions=1).polygons) == 1
    assert len(decode(maps, min_area=0.05).polygons) == 1
    assert len(decode(maps, min_area=0.0).polygons) == 3


def test_leaves_out_regions_with_a_low_score():
    maps = [np.minimum(as_logits(disc(160, 160, 60))[0], 1.0)]
    assert len(decode(maps).polygons) == 1
    assert len(decode(maps, score=0.8).polygons) == 0


@pytest.mark.parametrize("activation", ["auto", "softmaxed"])
def test_a_cell_belongs_to_the_best_class(activation):
    """Two overlapping discs: the boundary between them is a straight line at x = 160."""
    maps = np.stack([np.zeros_like(X), *as_logits(disc(120, 160, 60), disc(200, 160, 60))])
    if activation == "softmaxed":
        maps = np.exp(maps) / np.exp(maps).sum(0)
    result = decode(maps, classes=3)
    assert sorted(result.class_id.tolist()) == [1, 2]
    left = result.polygons[result.class_id.tolist().index(1)]
    assert left[:, 0].max() == pytest.approx(160, abs=1.0)
    assert left[:, 0].min() == pytest.approx(60, abs=1.5)
    assert (result.score > 0.6).all()


def test_the_background_option_controls_class_0():
    maps = np.stack([np.full_like(X, 0.5), *as_logits(disc(160, 160, 60))])
    assert decode(maps).class_id.tolist() == [1]
    assert decode(maps, background=False).class_id.tolist() == [0, 1]


def test_no_region_gives_no_polygon():
    result = decode([np.full_like(X, -5)])
    assert (len(result.class_id), len(result.score), result.polygons) == (0, 0, ())


def test_nan_counts_as_outside():
    maps = as_logits(disc(160, 160, 60))[0]
    maps[0, 0], maps[0, 1], maps[20, 20], maps[2, 2] = np.nan, -np.inf, np.inf, np.nan
    (polygon,) = decode([maps]).polygons
    assert np.abs(np.hypot(*(polygon - (160, 160)).T) - 60).max() < 1.5
    assert decode([np.full_like(X, np.nan)]).polygons == ()


def test_outlines_are_mapped_into_the_image():
    """A 640 x 320 image is letterboxed into rows 80 to 240 of the input, at half its size."""
    transform = fit((640, 320), SIZE, "letterbox")
    (polygon,) = decode(as_logits(disc(160, 160, 100)), transform).polygons
    assert polygon[:, 0].min() == pytest.approx(120, abs=1.5)
    assert (polygon[:, 1].min(), polygon[:, 1].max()) == (0, 320)  # clipped to the image
    assert decode(as_logits(disc(160, 20, 15)), transform).polygons == ()  # in the padding


def quad_distance(corners):
    """Signed distance to the edge of a convex quadrilateral, positive inside. corners: clockwise in the image."""
    inside = []
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0)):
        inside.append(((x2 - x1) * (Y - y1) - (y2 - y1) * (X - x1)) / np.hypot(x2 - x1, y2 - y1))
    return np.min(inside, axis=0)


@pytest.mark.parametrize(
    "corners",
    [
        [(60, 100), (260, 100), (260, 180), (60, 180)],
        [(76, 105), (248, 158), (224, 235), (52, 182)],
        [(60, 90), (270, 120), (250, 200), (80, 240)],
    ],
    ids=["upright", "channels_first", "perspective"],
)
def test_a_quad_has_the_right_corners(corners):
    """Within 1.5 input pixels for cells of 8, clockwise from the top left."""
    (polygon,) = decode(as_logits(quad_distance(np.array(corners, float))), shape="quad").polygons
    assert polygon.shape == (4, 2)
    np.testing.assert_allclose(polygon, corners, atol=1.5)


def test_a_covered_corner_does_not_affect_the_other_corners():
    """As if a finger covered one corner of a label."""
    corners = np.array([(60, 100), (260, 100), (260, 180), (60, 180)], float)
    distance = np.minimum(quad_distance(corners), -disc(262, 102, 22))
    (polygon,) = decode(as_logits(distance), shape="quad").polygons
    np.testing.assert_allclose(polygon[[0, 2, 3]], corners[[0, 2, 3]], atol=3)


@pytest.mark.parametrize("stride", [4, 16, 32])
def test_any_stride(stride):
    y, x = np.mgrid[: 320 // stride, : 320 // stride] * float(stride) + stride / 2
    maps = [np.clip((90 - np.hypot(x - 160, y - 160)) / stride * 4, -6, 6)]
    (polygon,) = decode(maps).polygons
    assert cv2.contourArea(polygon) == pytest.approx(np.pi * 90**2, rel=0.05)
