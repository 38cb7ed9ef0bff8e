"""Results and frames check the shapes and dtypes of their arrays."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from edge_app.frame import Classification, Detections, Frame, Segmentation


def detections(n: int) -> Detections:
    boxes = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    return Detections(boxes, np.linspace(1, 0, n, dtype=np.float32), np.arange(n, dtype=np.int32))


def test_detections_select_rows_of_every_array():
    found = detections(5)
    best = found[found.score > 0.5]
    assert len(best) == 2
    assert best.class_id.tolist() == [0, 1]
    assert len(found[np.array([4, 0])]) == 2
    assert found[1:3].xyxy.tolist() == found.xyxy[1:3].tolist()


def test_detections_select_rows_of_what_is_optional():
    corners = np.array([[[0, 0], [2, 0], [2, 1], [0, 1]], [[0, 0], [0, 2], [-1, 2], [-1, 0]]], np.float32)
    outlines = (np.zeros((0, 2), np.float32), np.ones((3, 2), np.float32))
    found = replace(detections(2), corners=corners, polygons=outlines, texts=("a", "b"))
    assert found.angle == pytest.approx([0, np.pi / 2])
    last = found[np.array([False, True])]
    assert (last.texts, len(last.polygons or ()), len(last.corners)) == (("b",), 1, 1)
    assert found[::-1].texts == ("b", "a")


def test_empty_detections_have_length_0():
    assert len(Detections.empty()) == 0


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"xyxy": np.zeros((2, 5), np.float32)}, "xyxy"),
        ({"xyxy": np.zeros((2, 4))}, "xyxy"),
        ({"class_id": np.zeros(2, np.int64)}, "class_id"),
        ({"track_id": np.zeros(3, np.int64)}, "track_id"),
        ({"keypoints": np.zeros((2, 5, 2), np.float32)}, "keypoints"),
        ({"corners": np.zeros((2, 5), np.float32)}, "corners"),
        ({"polygons": (np.zeros((3, 2), np.float32),)}, "polygons"),
        ({"polygons": (np.zeros((3, 3), np.float32),) * 2}, "polygons"),
        ({"texts": ("a",)}, "texts"),
    ],
)
def test_wrong_shapes_and_dtypes_are_rejected_by_name(change: dict[str, object], name: str):
    given = {"xyxy": np.zeros((2, 4), np.float32), "score": np.zeros(2, np.float32), "class_id": np.zeros(2, np.int32)}
    with pytest.raises(ValueError, match=name):
        Detections(**{**given, **change})


def test_other_results_check_their_arrays():
    with pytest.raises(ValueError, match="score"):
        Classification(np.zeros(2, np.int32), np.zeros(3, np.float32))
    with pytest.raises(ValueError, match="polygon"):
        Segmentation(np.zeros(1, np.int32), np.zeros(1, np.float32), (np.zeros((4, 3), np.float32),))


def test_nv12_is_converted_to_bgr_once():
    bgr = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    bgr = cv2.GaussianBlur(bgr, (0, 0), 6)  # chroma is halved: sharp colors would not survive
    i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    planes = i420[48:].reshape(2, -1)
    nv12 = np.concatenate((i420[:48].ravel(), planes.T.ravel())).reshape(72, 64)
    frame = Frame("t", 0, 0, 0, nv12, "nv12")
    assert (frame.width, frame.height) == (64, 48)
    assert frame.image is frame.image
    assert np.abs(frame.image.astype(int) - bgr).mean() < 3


@pytest.mark.parametrize(
    ("shape", "format_"), [((4, 4), "bgr"), ((4, 4, 4), "bgr"), ((70, 64), "nv12"), ((72, 63), "nv12")]
)
def test_pixels_of_another_shape_are_rejected(shape: tuple[int, ...], format_: str):
    with pytest.raises(ValueError, match="pixels are"):
        Frame("t", 0, 0, 0, np.zeros(shape, np.uint8), format_)
