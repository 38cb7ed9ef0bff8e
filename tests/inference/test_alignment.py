"""Crops for second-stage heads: their geometry, and results mapped back to the image."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.errors import ModelError
from edge_app.frame import Detections, Frame, Segmentation
from edge_app.inference.alignment import FACE_TEMPLATE, cut_box, cut_face, cut_quad, mapped, similarity
from edge_app.model.schema import CropInput, Input

FACE = CropInput("faces", Input(112, 112), align="face5")
LINE = CropInput("lines", Input(320, 48), margin=0, align="quad")


def umeyama(points, target):
    """Umeyama's closed form with a singular value decomposition, as published."""
    mean_p, mean_t = points.mean(axis=0), target.mean(axis=0)
    p, t = points - mean_p, target - mean_t
    u, s, vt = np.linalg.svd(t.T @ p / len(p))
    sign = np.diag([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ sign @ vt
    scale = np.trace(np.diag(s) @ sign) / (p**2).sum(axis=1).mean()
    return np.hstack([scale * rotation, (mean_t - scale * rotation @ mean_p)[:, None]])


def smooth_image(seed=0):
    noise = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), np.uint8)
    return cv2.resize(noise, (320, 240), interpolation=cv2.INTER_CUBIC)


def frame(pixels):
    return Frame("camera", 0, 0, 0, pixels)


def found(points=None, corners=None, box=(10, 20, 60, 80)):
    keypoints = None
    if points is not None:
        keypoints = np.concatenate([points, np.ones((len(points), 1))], axis=1)[None].astype(np.float32)
    corners = None if corners is None else np.array(corners, np.float32)[None]
    return Detections(
        np.array([box], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32), None, keypoints, corners
    )


def turned(points, degrees, scale, offset):
    angle = np.deg2rad(degrees)
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return points @ rotation.T + offset


@pytest.mark.parametrize("seed", range(5))
def test_similarity_equals_umeyamas_closed_form(seed):
    random = np.random.default_rng(seed)
    points = random.uniform(0, 300, (5, 2))
    target = turned(points, random.uniform(-180, 180), random.uniform(0.2, 3), random.uniform(-9, 9, 2))
    target += random.normal(0, 2, target.shape)
    np.testing.assert_allclose(similarity(points, target), umeyama(points, target), atol=1e-9)


def test_the_landmarks_of_an_aligned_face_lie_on_the_template():
    points = turned(FACE_TEMPLATE, 25, 0.8, (120, 60))
    crop = cut_face(frame(smooth_image()), found(points), 0, FACE)
    back = np.c_[FACE_TEMPLATE, np.ones(5)] @ crop.to_image.T
    np.testing.assert_allclose(back[:, :2], points, atol=1e-3)
    assert crop.frame.pixels.shape == (112, 112, 3)


def test_an_aligned_face_has_the_pixels_of_the_published_alignment():
    image = smooth_image()
    points = turned(FACE_TEMPLATE, -20, 0.9, (100, 80)) + np.random.default_rng(1).normal(0, 2, (5, 2))
    expected = cv2.warpAffine(image, umeyama(points.astype(np.float32), FACE_TEMPLATE), (112, 112), borderValue=0.0)
    crop = cut_face(frame(image), found(points), 0, FACE)
    assert np.abs(crop.frame.pixels.astype(int) - expected).max() <= 2  # cv2's fixed-point coordinates


def test_blazefaces_six_landmarks_align_by_eyes_nose_and_mouth():
    four = np.vstack([FACE_TEMPLATE[:3], FACE_TEMPLATE[3:].mean(axis=0)])
    ears = [[5.0, 60.0], [105.0, 60.0]]
    crop = cut_face(frame(smooth_image()), found(np.vstack([four, ears]) + 40), 0, FACE)
    np.testing.assert_allclose(crop.to_image, [[1, 0, 40], [0, 1, 40], [0, 0, 1]], atol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_face_with_a_landmark_that_is_not_a_number_has_no_crop(bad):
    points = FACE_TEMPLATE.copy()
    points[2, 0] = bad
    assert cut_face(frame(smooth_image()), found(points), 0, FACE) is None


def test_landmarks_in_one_point_or_too_close_have_no_crop():
    assert cut_face(frame(smooth_image()), found(np.full((5, 2), 30.0)), 0, FACE) is None
    assert cut_face(frame(smooth_image()), found(FACE_TEMPLATE / 40), 0, FACE) is None


def test_rejects_detections_without_the_landmarks_of_a_face():
    with pytest.raises(ModelError, match="found no landmarks from 'faces'; expected a head with 5 per face"):
        cut_face(frame(smooth_image()), found(), 0, FACE)
    with pytest.raises(ModelError, match="found 17 landmarks"):
        cut_face(frame(smooth_image()), found(np.ones((17, 2))), 0, FACE)
    with pytest.raises(ModelError, match="found no corners from 'lines'; expected a head with oriented boxes"):
        cut_quad(frame(smooth_image()), found(), 0, LINE)


def paddle_crop(image, points):
    """PaddleOCR's `get_rotate_crop_image`, written down as published."""
    width = int(max(np.linalg.norm(points[0] - points[1]), np.linalg.norm(points[2] - points[3])))
    height = int(max(np.linalg.norm(points[0] - points[3]), np.linalg.norm(points[1] - points[2])))
    square = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(points, square)
    image = cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE, flags=cv2.INTER_CUBIC)
    return np.rot90(image) if height >= 1.5 * width else image


@pytest.mark.parametrize(
    "corners",
    [
        [[50, 60], [200, 90], [195, 130], [45, 100]],
        [[50, 60], [210, 70], [200, 130], [45, 100]],
        [[60, 20], [100, 25], [95, 180], [50, 170]],
    ],
    ids=["turned", "in perspective", "upright"],
)
def test_a_rectified_quadrilateral_has_the_pixels_of_paddleocr(corners):
    image = smooth_image()
    expected = paddle_crop(image, np.array(corners, np.float32))
    crop = cut_quad(frame(image), found(corners=corners), 0, LINE)
    assert crop.frame.pixels.shape == expected.shape
    difference = np.abs(crop.frame.pixels.astype(int) - expected)[1:-1, 1:-1]
    assert difference.mean() < 1.5


def test_the_corners_of_a_rectified_quadrilateral_map_back():
    corners = np.array([[50, 60], [210, 70], [200, 130], [45, 100]], np.float32)
    crop = cut_quad(frame(smooth_image()), found(corners=corners), 0, LINE)
    size = np.array([crop.frame.width, crop.frame.height])
    ends = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size
    homogeneous = np.c_[ends, np.ones(4)] @ crop.to_image.T
    np.testing.assert_allclose(homogeneous[:, :2] / homogeneous[:, 2:], corners, atol=1e-3)


@pytest.mark.parametrize(
    "corners",
    [
        [[0, 0], [100, 0], [0, 50], [100, 50]],
        [[0, 0], [50, 0], [100, 0], [150, 0]],
        [[0, 0], [2, 0], [2, 2], [0, 2]],
        [[0, 0], [np.nan, 0], [9, 9], [0, 9]],
    ],
    ids=["crossed", "line", "tiny", "nan"],
)
def test_a_quadrilateral_without_an_inside_has_no_crop(corners):
    assert cut_quad(frame(smooth_image()), found(corners=corners), 0, LINE) is None


def test_results_of_a_box_are_moved_to_the_image():
    crops = CropInput("things", Input(16, 16), margin=0)
    crop = cut_box(frame(smooth_image()), found(), 0, crops)
    boxes = Detections(np.array([[1, 2, 3, 4]], np.float32), np.ones(1, np.float32), np.zeros(1, np.int32))
    moved = mapped(boxes, crop.to_image, (320, 240))
    np.testing.assert_array_equal(moved.xyxy, [[11, 22, 13, 24]])
    assert moved.corners is None
    outline = np.array([[0, 0], [1, 0], [1, 1]], np.float32)
    regions = Segmentation(np.zeros(1, np.int32), np.ones(1, np.float32), (outline,))
    np.testing.assert_array_equal(
        mapped(regions, crop.to_image, (320, 240)).polygons[0], outline + np.float32([10, 20])
    )


def test_a_box_in_an_aligned_face_becomes_an_oriented_box_of_the_image():
    points = turned(FACE_TEMPLATE, 90, 1, (200, 50))
    crop = cut_face(frame(smooth_image()), found(points), 0, FACE)
    inside = found(points=np.array([[10.0, 20.0]]), box=(10, 20, 30, 60))
    moved = mapped(inside, crop.to_image, (320, 240))
    np.testing.assert_allclose(moved.corners[0], [[180, 60], [180, 80], [140, 80], [140, 60]], atol=0.01)
    np.testing.assert_allclose(moved.xyxy, [[140, 60, 180, 80]], atol=0.01)
    np.testing.assert_allclose(moved.keypoints[0, 0], [180, 60, 1], atol=0.01)


def test_an_empty_result_stays_empty():
    crop = cut_face(frame(smooth_image()), found(FACE_TEMPLATE + 20), 0, FACE)
    assert len(mapped(Detections.empty(), crop.to_image, (320, 240))) == 0
