"""The head `markers`, on markers drawn by OpenCV, against the plane and the camera that they were seen with."""

from __future__ import annotations

from types import SimpleNamespace
from typing import get_args

import cv2
import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from edge_app.heads.markers import Dictionary, Head
from tests.heads.printed import in_scene, mapped, marker, plane

SPEC = HeadSpec("tags", "markers", Head.labels, (0, 0))
APRILTAG = cv2.aruco.DICT_APRILTAG_36h11
OF_NAME = {
    "4x4_50": cv2.aruco.DICT_4X4_50,
    "7x7_1000": cv2.aruco.DICT_7X7_1000,
    "aruco_original": cv2.aruco.DICT_ARUCO_ORIGINAL,
    "apriltag_16h5": cv2.aruco.DICT_APRILTAG_16h5,
    "apriltag_36h11": APRILTAG,
    "aruco_mip_36h12": cv2.aruco.DICT_ARUCO_MIP_36h12,
}


def find(head: Head, image: np.ndarray):
    size = (image.shape[1], image.shape[0])
    return head.decode({"image": image[None]}, fit(size, size, "stretch"))


def found(result) -> list[tuple[str, str]]:
    return [(Head.labels[kind], text) for kind, text in zip(result.class_id, result.texts or ())]


@pytest.mark.parametrize("name", OF_NAME)
def test_finds_the_markers_of_a_dictionary(name: str):
    image, _ = in_scene(marker(OF_NAME[name], 23, 120))
    assert found(find(Head(SPEC, dictionaries=(name,)), image)) == [(name, "23")]


def test_opencv_has_every_dictionary():
    Head(SPEC, dictionaries=get_args(Dictionary))


@pytest.mark.parametrize("turn", [0, 90, 200])
@pytest.mark.parametrize("tilt", [0, 40])
def test_corners_are_those_of_the_plane(turn: float, tilt: float):
    """Tolerance: half a pixel."""
    printed = marker(APRILTAG, 17, 120)
    image, homography = in_scene(printed, turn=turn, tilt=tilt)
    result = find(Head(SPEC), image)
    assert found(result) == [("apriltag_36h11", "17")]
    np.testing.assert_allclose(result.corners[0], mapped(homography, printed.symbol), atol=0.5)


@pytest.mark.parametrize(("turn", "tilt", "toward"), [(30, 35, 0), (120, 25, 90), (0, 40, 200)])
def test_the_pose_is_that_of_the_camera_model(turn: float, tilt: float, toward: float):
    """Within 1 % of the distance, and 2 degrees."""
    printed = marker(APRILTAG, 5, 160)
    image, _ = in_scene(printed, turn=turn, tilt=tilt, toward=toward)
    side = image.shape[0]
    size = (printed.image.shape[1], printed.image.shape[0])
    focal = 4 * np.hypot(*size)
    matrix = (focal, focal, side / 2 - 0.5, side / 2 - 0.5)  # OpenCV's calibration counts from the center of a pixel
    pixel_m = 0.1 / 160
    (pose,) = find(Head(SPEC, side_m=0.1, camera_matrix=matrix), image).poses
    homography = plane(turn, tilt, toward, size, side)
    columns = np.linalg.inv([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]]) @ homography
    x, y = columns[:, 0], columns[:, 1]
    axes = np.column_stack([x, -y, np.cross(x, -y)])  # the marker's y axis points up
    center = columns @ np.array([size[0] / 2, size[1] / 2, 1])
    np.testing.assert_allclose(pose[:3], center * pixel_m, atol=0.01 * focal * pixel_m)
    between = cv2.Rodrigues(pose[3:].astype(float))[0].T @ axes
    assert np.degrees(np.arccos(np.clip((np.trace(between) - 1) / 2, -1, 1))) < 2


def test_without_a_camera_there_is_no_pose():
    assert find(Head(SPEC), in_scene(marker(APRILTAG, 1, 100))[0]).poses is None
    nothing = np.full((50, 50), 128, np.uint8)
    assert len(find(Head(SPEC, side_m=0.1, camera_matrix=(100, 100, 25, 25)), nothing)) == 0


def test_markers_are_listed_from_left_to_right_with_their_dictionaries():
    left, right = in_scene(marker(OF_NAME["4x4_50"], 3, 100))[0], in_scene(marker(APRILTAG, 9, 100))[0]
    rows = min(len(left), len(right))
    image = np.hstack([left[:rows], right[:rows]])
    both = Head(SPEC, dictionaries=("apriltag_36h11", "4x4_50"))
    assert found(find(both, image)) == [("4x4_50", "3"), ("apriltag_36h11", "9")]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dictionaries": ()}, "heads.tags.dictionaries: found none; expected at least one"),
        ({"side_m": 0.1}, "heads.tags: found only side_m; expected side_m and camera_matrix, or neither"),
        ({"camera_matrix": (1, 1, 1, 1)}, "heads.tags: found only camera_matrix; expected side_m and camera_matrix"),
        ({"side_m": 0.1, "camera_matrix": (0, 1, 1, 1)}, "heads.tags.camera_matrix: found [0, 1, 1, 1]; expected fx"),
        (
            {"side_m": 0.1, "camera_matrix": (1, 1, 1, 1), "distortion": (1.0, 2.0)},
            "heads.tags.distortion: found 2 numbers; expected none, or one of 4, 5, 8, 12, 14",
        ),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: dict, message: str):
    with pytest.raises(ConfigError) as caught:
        Head(SPEC, **options)
    assert str(caught.value).startswith(message)


def test_an_old_opencv_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "cv2", SimpleNamespace(__version__="4.6.0", aruco=cv2.aruco))
    with pytest.raises(ConfigError, match=r"^heads\.tags: found OpenCV 4\.6\.0; expected OpenCV 4\.8 or later: pip"):
        Head(SPEC)
