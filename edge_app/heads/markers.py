"""markers: ArUco markers and AprilTags, found without a network, by OpenCV 4.8 or later.

The label is the dictionary, the text the number of the marker. With the camera's matrix, each has its pose too.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, get_args

import numpy as np

from edge_app.errors import ConfigError
from edge_app.frame import Detections, Float32
from edge_app.geometry.boxes import Transform
from edge_app.geometry.polygons import Float64
from edge_app.heads import HeadSpec
from edge_app.heads._opencv import require_opencv
from edge_app.heads._outputs import Arrays
from edge_app.heads._quads import from_quads
from edge_app.options import Positive, Range

Dictionary = Literal[
    "4x4_50", "4x4_100", "4x4_250", "4x4_1000", "5x5_50", "5x5_100", "5x5_250", "5x5_1000", "6x6_50", "6x6_100",
    "6x6_250", "6x6_1000", "7x7_50", "7x7_100", "7x7_250", "7x7_1000", "aruco_original", "apriltag_16h5",
    "apriltag_25h9", "apriltag_36h10", "apriltag_36h11", "aruco_mip_36h12",
]  # fmt: skip
_NAMES: tuple[str, ...] = get_args(Dictionary)
_DISTORTION = (0, 4, 5, 8, 12, 14)  # the numbers of coefficients that OpenCV's camera model knows

_PIXEL_CENTER = 0.5  # OpenCV's coordinates, and those of its calibration, are 0 there


class Head:
    """Finds markers, and the pose of each if the camera is calibrated.

    dictionaries: each one more finds markers where there are none more often. side_m: of the black square, meters.
    camera_matrix: fx, fy, cx, cy in pixels of the frame, as a calibration gives them. distortion: 4, 5, 8, 12 or 14
    coefficients of OpenCV's camera model. max_detections: per frame, from left to right.
    """

    result_type = Detections
    image: Literal["gray"] = "gray"
    labels = _NAMES

    def __init__(
        self,
        spec: HeadSpec,
        *,
        dictionaries: tuple[Dictionary, ...] = ("apriltag_36h11",),
        side_m: Annotated[float, Range(0.001, 100)] | None = None,
        camera_matrix: tuple[float, float, float, float] | None = None,
        distortion: tuple[float, ...] = (),
        max_detections: Positive = 100,
    ) -> None:
        import cv2

        where = f"heads.{spec.name}"
        require_opencv(where, cv2.__version__, "aruco")
        if not dictionaries:
            raise ConfigError(f"{where}.dictionaries: found none; expected at least one")
        self._limit = max_detections
        self._camera = _camera(where, side_m, camera_matrix, distortion)
        parameters = cv2.aruco.DetectorParameters()
        parameters.cornerRefinementMethod = cv2.aruco.CORNER_REFINE_SUBPIX
        self._detectors = [
            (_NAMES.index(name), cv2.aruco.ArucoDetector(_dictionary(name), parameters))
            for name in dict.fromkeys(dictionaries)
        ]

    def decode(self, outputs: Arrays, transform: Transform) -> Detections:
        """Find the markers of a gray image (1, H, W)."""
        (image,) = outputs["image"]
        image = np.ascontiguousarray(image)
        quads, classes, texts = [], [], []
        for class_id, detector in self._detectors:
            found, ids, _ = detector.detectMarkers(image)
            for quad, number in zip(found, () if ids is None else ids.ravel().tolist()):
                quads.append(quad.reshape(4, 2) + _PIXEL_CENTER)
                classes.append(class_id)
                texts.append(str(number))
        corners = np.array(quads, np.float32).reshape(-1, 4, 2)
        result = from_quads(corners, classes, texts, transform, self._limit)
        if self._camera is None or result.corners is None or not len(result):
            return result
        return replace(result, poses=np.stack([self._camera.pose(quad) for quad in result.corners]))


@dataclass(frozen=True, slots=True)
class _Camera:
    """A calibrated camera. square: the marker's corners (4, 3), meters. matrix: (3, 3). distortion: (D,)."""

    square: Float64
    matrix: Float64
    distortion: Float64

    def pose(self, corners: Float32) -> Float32:
        """Position and rotation vector of a marker, (6,), as in Detections.poses. corners: (4, 2), image pixels."""
        import cv2

        points = corners.astype(np.float64) - _PIXEL_CENTER
        solved, rotation, position = cv2.solvePnP(
            self.square, points, self.matrix, self.distortion, flags=cv2.SOLVEPNP_IPPE_SQUARE
        )
        if not solved:
            return np.full(6, np.nan, np.float32)
        return np.concatenate([position.ravel(), rotation.ravel()]).astype(np.float32)


def _camera(
    where: str,
    side_m: float | None,
    camera_matrix: tuple[float, float, float, float] | None,
    distortion: tuple[float, ...],
) -> _Camera | None:
    """The camera of the options; None without them. Raises ConfigError if they are no calibration."""
    if side_m is None and camera_matrix is None:
        return None
    if side_m is None or camera_matrix is None:
        found = "side_m" if camera_matrix is None else "camera_matrix"
        raise ConfigError(f"{where}: found only {found}; expected side_m and camera_matrix, or neither")
    fx, fy, cx, cy = camera_matrix
    if not (np.isfinite(camera_matrix).all() and fx > 0 and fy > 0):
        raise ConfigError(
            f"{where}.camera_matrix: found {list(camera_matrix)}; expected fx, fy, cx, cy, with fx, fy > 0"
        )
    if len(distortion) not in _DISTORTION or not np.isfinite(distortion).all():
        numbers = ", ".join(map(str, _DISTORTION[1:]))
        raise ConfigError(f"{where}.distortion: found {len(distortion)} numbers; expected none, or one of {numbers}")
    half = side_m / 2  # the marker's axes: x to the right, y up, z out of it
    square = np.array([[-half, half, 0], [half, half, 0], [half, -half, 0], [-half, -half, 0]])
    return _Camera(square, np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]]), np.array(distortion, np.float64))


def _dictionary(name: str) -> Any:
    """OpenCV's dictionary: DICT_4X4_50, DICT_APRILTAG_36h11."""
    import cv2

    family, _, rest = name.partition("_")
    spelled = f"APRILTAG_{rest}" if family == "apriltag" else name.upper()
    if name == "aruco_mip_36h12":
        spelled = "ARUCO_MIP_36h12"
    code = getattr(cv2.aruco, f"DICT_{spelled}", None)
    if code is None:
        raise ConfigError(f"dictionary '{name}': OpenCV {cv2.__version__} lacks it; expected a later version")
    return cv2.aruco.getPredefinedDictionary(code)
