"""Crops of detections for second-stage heads: the box, a face aligned by its landmarks, or a rectified quadrilateral.

Not here: which detections get a crop, running the head on it (crops.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.errors import ModelError
from edge_app.frame import Classification, Detections, Embedding, Float32, Frame, Result, Segmentation, Text
from edge_app.model.schema import CropInput

Float64 = NDArray[np.float64]

_MIN_CROP_PX = 4  # crops with a shorter side are skipped
_MAX_QUAD_PX = 4096  # a longer side of a rectified quadrilateral is reduced
_UPRIGHT_RATIO = 1.5  # height / width from which a quadrilateral is turned for an input that is wider than high

# ArcFace's template: eyes, nose and corners of the mouth of an aligned face, pixels of a 112x112 image.
# Source: InsightFace, `arcface_dst`. In the image, the left eye and the left corner come first.
FACE_SIZE = 112
FACE_TEMPLATE: Float64 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
_EYES_NOSE_MOUTH: Float64 = np.vstack([FACE_TEMPLATE[:3], FACE_TEMPLATE[3:].mean(axis=0)])
_TEMPLATES = {5: FACE_TEMPLATE, 6: _EYES_NOSE_MOUTH}  # six: BlazeFace, with the center of the mouth, then the ears


@dataclass(frozen=True, slots=True, eq=False)
class Crop:
    """A crop as a frame of its own. to_image: (3, 3), maps its pixels to pixels of the image, homogeneous."""

    frame: Frame
    to_image: Float64


Cut = Callable[[Frame, Detections, int, CropInput], "Crop | None"]


def cut_box(frame: Frame, detections: Detections, row: int, crops: CropInput) -> Crop | None:
    """The upright box with its margin. None if it is too small."""
    corners = detections.xyxy[row].reshape(2, 2)
    margin = crops.margin * (corners[1] - corners[0])
    size = (frame.width, frame.height)
    x1, y1 = np.clip(np.floor(corners[0] - margin), 0, size).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(corners[1] + margin), 0, size).astype(int).tolist()
    if x2 - x1 < _MIN_CROP_PX or y2 - y1 < _MIN_CROP_PX:
        return None
    return Crop(_frame(frame, frame.image[y1:y2, x1:x2]), np.array([[1.0, 0, x1], [0, 1, y1], [0, 0, 1]]))


def cut_face(frame: Frame, detections: Detections, row: int, crops: CropInput) -> Crop | None:
    """The face, moved, turned and scaled so that its landmarks lie on ArcFace's template. None if it is too small.

    Outside the image, the crop is black, as in InsightFace. None, too, if a landmark is not a number.
    Raises ModelError if the detections have no landmarks of a face.
    """
    points = detections.keypoints
    template = None if points is None else _TEMPLATES.get(points.shape[1])
    if points is None or template is None:
        found = "no landmarks" if points is None else f"{points.shape[1]} landmarks"
        raise ModelError(f"crops.align: face5: found {found} from '{crops.of}'; expected a head with 5 per face")
    landmarks = points[row, : len(template)]
    if not np.isfinite(landmarks).all() or not (landmarks[:, 2] > 0).all():
        return None
    size = (crops.input.width, crops.input.height)
    scale = min(size) / FACE_SIZE
    offset = (np.array(size) - FACE_SIZE * scale) / 2
    matrix = similarity(landmarks[:, :2], template * scale + offset)
    if matrix is None or min(size) < _MIN_CROP_PX * np.hypot(matrix[0, 0], matrix[0, 1]):
        return None
    to_image = np.linalg.inv(np.vstack([matrix, [0, 0, 1]]))
    pixels = cv2.warpAffine(
        frame.image, to_image[:2], size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_CONSTANT
    )
    return Crop(_frame(frame, np.asarray(pixels, np.uint8)), to_image)


def cut_quad(frame: Frame, detections: Detections, row: int, crops: CropInput) -> Crop | None:
    """The quadrilateral of an oriented box, rectified at its size in the image. None if too small or not convex.

    Corner 0 becomes the top left one, corner 1 the top right one. As PaddleOCR does, one that is 1.5 times as high as
    wide is turned to the left if the input is wider than high.
    Source: `get_rotate_crop_image` in PaddleOCR. Raises ModelError if the detections have no corners.
    """
    if detections.corners is None:
        raise ModelError(f"crops.align: quad: found no corners from '{crops.of}'; expected a head with oriented boxes")
    quad = detections.corners[row].astype(np.float64)
    if not np.isfinite(quad).all() or np.abs(quad).max() > 1e5:
        return None
    quad += 2 * crops.margin * (quad - quad.mean(axis=0))
    sides = np.linalg.norm(quad - np.roll(quad, -1, axis=0), axis=1)  # top, right, bottom, left
    width, height = (int(max(sides[i], sides[i + 2])) for i in (0, 1))
    if min(width, height) < _MIN_CROP_PX or not cv2.isContourConvex(quad.astype(np.float32)):
        return None
    shrink = min(1.0, _MAX_QUAD_PX / max(width, height))
    width, height = max(1, round(width * shrink)), max(1, round(height * shrink))
    rectangle = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    to_image = np.asarray(cv2.getPerspectiveTransform(rectangle, quad.astype(np.float32)), np.float64)
    pixels = cv2.warpPerspective(
        frame.image,
        to_image,
        (width, height),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    if height >= _UPRIGHT_RATIO * width and crops.input.width > crops.input.height:
        pixels, to_image = np.rot90(pixels), to_image @ [[0, -1, width - 1], [1, 0, 0], [0, 0, 1]]
    return Crop(_frame(frame, np.ascontiguousarray(pixels, np.uint8)), to_image)


CUTS: Mapping[str, Cut] = {"box": cut_box, "face5": cut_face, "quad": cut_quad}  # by `crops.align`


def similarity(points: NDArray[np.floating], target: NDArray[np.floating]) -> Float64 | None:
    """The map (2, 3) of points (N, 2) to target (N, 2) by rotation, scale and translation, with the least squares.

    None if all points are the same. Source: Umeyama (TPAMI 1991), in complex numbers, for two dimensions.
    """
    found, wanted = (array.astype(np.float64) @ [1, 1j] for array in (points, target))
    centered = found - found.mean()
    power = float(np.vdot(centered, centered).real)
    if power < 1e-6:
        return None
    factor = np.vdot(centered, wanted - wanted.mean()) / power  # scale * e^(i * angle)
    offset = wanted.mean() - factor * found.mean()
    return np.array([[factor.real, -factor.imag, offset.real], [factor.imag, factor.real, offset.imag]])


def mapped(result: Result, to_image: Float64, size: tuple[int, int]) -> Result:
    """Move the coordinates of a result from a crop to the image. A turned box gets corners and its upright rectangle.

    to_image: (3, 3), as of `Crop`. size: width and height of the image.
    """
    if isinstance(result, Detections):
        return _mapped_detections(result, to_image, size)
    if isinstance(result, Segmentation):
        return replace(result, polygons=tuple(_points(polygon, to_image) for polygon in result.polygons))
    assert isinstance(result, (Classification, Embedding, Text))
    return result


def _mapped_detections(result: Detections, to_image: Float64, size: tuple[int, int]) -> Detections:
    corners, keypoints = result.corners, result.keypoints
    if keypoints is not None:
        keypoints = np.concatenate([_points(keypoints[..., :2], to_image), keypoints[..., 2:]], axis=2)
    moved_only = np.array_equal(to_image[:2, :2], np.eye(2)) and not to_image[2, :2].any()
    if corners is None and not moved_only:
        corners = result.xyxy[:, [0, 1, 2, 1, 2, 3, 0, 3]].reshape(-1, 4, 2)
    if corners is not None:
        corners = _points(corners, to_image)
    if moved_only or corners is None:
        xyxy = _points(result.xyxy.reshape(-1, 2, 2), to_image).reshape(-1, 4)
    else:
        upright = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
        xyxy = np.clip(upright, 0, np.array(size * 2, np.float32))
    polygons = None if result.polygons is None else tuple(_points(each, to_image) for each in result.polygons)
    return replace(result, xyxy=xyxy, keypoints=keypoints, corners=corners, polygons=polygons)


def _points(points: Float32, matrix: Float64) -> Float32:
    """Map points (..., 2)."""
    if not points.size:
        return points
    homogeneous = points @ matrix[:, :2].T + matrix[:, 2]
    return np.asarray(homogeneous[..., :2] / homogeneous[..., 2:], np.float32)


def _frame(frame: Frame, pixels: NDArray[np.uint8]) -> Frame:
    return Frame(frame.source, frame.sequence, frame.captured_ns, frame.utc_ns, pixels)
