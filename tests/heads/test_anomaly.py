"""The head `anomaly` against a slow reference: regions by flood fill over the pixels of the map."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from edge_app.heads.anomaly import Head

SIZE = (96, 64)
SPEC = HeadSpec("defects", "anomaly", ("anomaly",), SIZE)
STRETCH = fit(SIZE, SIZE, "stretch")


def blobs(*places: tuple[int, int, float, float], size: tuple[int, int] = SIZE) -> np.ndarray:
    """A map (1, 1, H, W) with bumps: x, y, radius, peak."""
    y, x = np.mgrid[: size[1], : size[0]]
    values = np.zeros(size[::-1])
    for at_x, at_y, radius, peak in places:
        values = np.maximum(values, peak * np.exp(-((x - at_x) ** 2 + (y - at_y) ** 2) / (2 * radius**2)))
    return values[None, None].astype(np.float32)


def regions_slowly(values: np.ndarray, threshold: float) -> list[tuple[float, list[int]]]:
    """The peak and the box of each connected region (eight neighbors), the highest first."""
    left = {tuple(each) for each in np.argwhere(values > threshold).tolist()}
    regions = []
    while left:
        queue = [left.pop()]
        pixels = []
        while queue:
            y, x = queue.pop()
            pixels.append((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
            left -= near
            queue += near
        ys, xs = zip(*pixels)
        regions.append((max(float(values[p]) for p in pixels), [min(xs), min(ys), max(xs) + 1, max(ys) + 1]))
    return sorted(regions, reverse=True)


def test_regions_are_those_of_the_flood_fill():
    """Tolerance: a pixel for the edges, which are placed between pixels; 1e-6 for the score."""
    values = blobs((20, 20, 5, 0.9), (70, 40, 8, 0.7), (50, 10, 2, 0.45))
    result = Head(SPEC).decode({"anomaly_map": values}, STRETCH)
    expected = regions_slowly(values[0, 0], 0.5)
    assert len(result) == len(expected) == 2
    np.testing.assert_allclose(result.score, [score for score, _ in expected], atol=1e-6)
    np.testing.assert_allclose(result.xyxy, [box for _, box in expected], atol=1)
    for polygon, radius in zip(result.polygons, (5, 8)):
        peak = 0.9 if radius == 5 else 0.7
        at_half = radius * np.sqrt(2 * np.log(peak / 0.5))
        assert cv2.contourArea(polygon) == pytest.approx(np.pi * at_half**2, rel=0.1)


def test_raw_distances_are_scaled():
    values = blobs((20, 20, 5, 0.9)) * 12 + 3
    head = Head(SPEC, normal=3.0, anomalous=15.0)
    same = Head(SPEC).decode({"m": blobs((20, 20, 5, 0.9))}, STRETCH)
    found = head.decode({"m": values.astype(np.float32)}, STRETCH)
    np.testing.assert_allclose(found.xyxy, same.xyxy, atol=1e-3)
    np.testing.assert_allclose(found.score, same.score, atol=1e-5)


def test_the_outputs_of_anomalib_beside_the_map_are_not_used():
    outputs = {
        "pred_score": np.array([0.9], np.float32),
        "pred_label": np.array([True]),
        "anomaly_map": blobs((20, 20, 5, 0.9)),
        "pred_mask": np.zeros((1, 1, 64, 96), bool),
    }
    specs = tuple(TensorSpec(name, value.shape, value.dtype.name) for name, value in outputs.items())
    head = Head(HeadSpec("defects", "anomaly", ("anomaly",), SIZE, specs))
    assert len(head.decode(outputs, STRETCH)) == 1


def test_a_coarse_map_is_scaled_to_the_image():
    """A map of a quarter, of an image twice as large as the input. Tolerance: a cell, 8 pixels."""
    coarse = blobs((5, 5, 1.5, 0.9), size=(24, 16))
    transform = fit((192, 128), SIZE, "stretch")
    (box,) = Head(SPEC).decode({"m": coarse[:, 0]}, transform).xyxy
    ((_, cells),) = regions_slowly(coarse[0, 0], 0.5)
    np.testing.assert_allclose(box, np.array(cells) * 8, atol=8)


def test_score_and_max_detections_limit_the_regions():
    values = blobs((20, 20, 5, 0.9), (70, 40, 8, 0.7))
    assert len(Head(SPEC, score=0.8).decode({"m": values}, STRETCH)) == 1
    assert Head(SPEC, max_detections=1).decode({"m": values}, STRETCH).score[0] == pytest.approx(0.9)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 3e38])
def test_invalid_values_give_no_invalid_boxes(bad: float):
    values = blobs((20, 20, 5, 0.9))
    values[0, 0, ::7, ::5] = bad
    result = Head(SPEC).decode({"m": values}, STRETCH)
    assert np.isfinite(result.xyxy).all()
    assert (result.xyxy[:, 2:] > result.xyxy[:, :2]).all()
    assert ((result.score >= 0) & (result.score <= 1)).all()
    assert all(np.isfinite(polygon).all() for polygon in result.polygons)


def test_a_normal_image_has_no_regions():
    assert len(Head(SPEC).decode({"m": np.zeros((1, 1, 64, 96), np.float32)}, STRETCH)) == 0


@pytest.mark.parametrize("shape", [(1, 2, 64, 96), (1, 100), (2, 64, 96)])
def test_other_outputs_are_rejected_in_one_line(shape: tuple[int, ...]):
    outputs = (TensorSpec("m", shape, "float32"),)
    with pytest.raises(
        ModelError, match=r"^heads\.defects: family 'anomaly' cannot decode the outputs m .* expected a map"
    ):
        Head(HeadSpec("defects", "anomaly", (), SIZE, outputs))


def test_normal_must_be_below_anomalous():
    with pytest.raises(ModelError, match=r"^heads\.defects: found normal 2, anomalous 1; expected normal < anomalous"):
        Head(SPEC, normal=2.0, anomalous=1.0)
