"""The head `dbtext` against a slow reference: cores found by flood fill, the enlarged polygon built from circles."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.geometry.boxes import fit
from edge_app.heads import HeadSpec
from edge_app.heads.dbtext import Head

SIZE = (320, 256)
SPEC = HeadSpec("lines", "dbtext", ("text",), SIZE)
STRETCH = fit(SIZE, SIZE, "stretch")


def probability(*lines: tuple[float, float, float, float, float], value: float = 0.9) -> np.ndarray:
    """A map with the cores of lines: center x, y, width, height, angle in degrees."""
    image = np.full(SIZE[::-1], 0.02, np.float32)
    for x, y, width, height, angle in lines:
        corners = cv2.boxPoints(((x, y), (width, height), angle))
        cv2.fillPoly(image, [np.round(corners).astype(np.int32)], value)
    return image[None, None]


def enlarged_slowly(core: np.ndarray, ratio: float) -> np.ndarray:
    """The minimal rectangle of a core whose rectangle is enlarged by circles on its outline, as PaddleOCR does.

    core: (N, 2) pixels of it.
    """
    rectangle = cv2.boxPoints(cv2.minAreaRect(core.astype(np.float32)))
    sides = np.linalg.norm(rectangle - np.roll(rectangle, -1, axis=0), axis=1)
    distance = sides[0] * sides[1] * ratio / sides.sum()
    turns = np.linspace(0, 2 * np.pi, 360, endpoint=False)
    circle = distance * np.stack([np.cos(turns), np.sin(turns)], axis=1)
    return cv2.boxPoints(cv2.minAreaRect((rectangle[:, None] + circle).reshape(-1, 2).astype(np.float32)))


def mean_inside_slowly(values: np.ndarray, core: np.ndarray) -> float:
    """The mean of the pixels whose centers are in the core's minimal rectangle, each tested with four half planes."""
    rectangle = cv2.boxPoints(cv2.minAreaRect(core.astype(np.float32)))
    sides = np.roll(rectangle, -1, axis=0) - rectangle
    inside = []
    low, high = np.floor(core.min(axis=0)).astype(int) - 2, np.ceil(core.max(axis=0)).astype(int) + 3
    for y, x in np.ndindex(values.shape):
        if not (low[1] <= y < high[1] and low[0] <= x < high[0]):
            continue
        turn = [side[0] * (y - p[1]) - side[1] * (x - p[0]) for side, p in zip(sides, rectangle)]
        if min(turn) >= -1e-3 or max(turn) <= 1e-3:
            inside.append(values[y, x])
    return float(np.mean(inside))


def as_set(corners: np.ndarray) -> np.ndarray:
    """The corners without their order: sorted by angle around the center, from the one nearest to the upper left."""
    around = corners - corners.mean(axis=0)
    ordered = corners[np.argsort(np.arctan2(around[:, 1], around[:, 0]))]
    return np.roll(ordered, -int(np.argmin(ordered.sum(axis=1))), axis=0)


@pytest.mark.parametrize(("angle", "unclip"), [(0, 1.6), (12, 2.0), (-25, 1.6), (80, 1.6)])
def test_corners_are_those_of_the_enlarged_polygon(angle: float, unclip: float):
    """Tolerance: half a pixel of the map; the score within 0.08: the mask of PaddleOCR has the outline, too."""
    image = probability((160, 128, 120, 18, angle))
    result = Head(SPEC, unclip=unclip, dilate=False).decode({"map": image}, STRETCH)
    core = np.argwhere(image[0, 0] > 0.3)[:, ::-1]
    np.testing.assert_allclose(as_set(result.corners[0]), as_set(enlarged_slowly(core, unclip)), atol=0.5)
    assert result.score[0] == pytest.approx(mean_inside_slowly(image[0, 0], core), abs=0.08)


def test_corners_begin_at_the_upper_left_one_and_are_in_image_pixels():
    transform = fit((640, 512), SIZE, "letterbox")
    result = Head(SPEC).decode({"map": probability((160, 128, 100, 16, 0))}, transform)
    x1, y1, x2, y2 = result.xyxy[0]
    np.testing.assert_allclose(result.corners[0], [[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    assert (x1 + x2) / 2 == pytest.approx(320, abs=2)
    assert (y1 + y2) / 2 == pytest.approx(256, abs=2)


def test_a_map_of_a_quarter_is_scaled_to_the_input():
    full = probability((160, 128, 120, 24, 0))
    quarter = full[:, :, ::4, ::4]
    large, small = (Head(SPEC, dilate=False).decode({"map": each}, STRETCH) for each in (full, quarter))
    np.testing.assert_allclose(small.xyxy, large.xyxy, atol=8)


def test_several_lines_are_sorted_by_score_and_limited():
    image = np.maximum(probability((100, 40, 90, 14, 0), value=0.7), probability((200, 120, 90, 14, 0), value=0.95))
    result = Head(SPEC).decode({"map": image}, STRETCH)
    assert len(result) == 2
    assert result.score[0] > 0.8 > result.score[1]
    assert result.xyxy[0, 1] > result.xyxy[1, 1]
    assert len(Head(SPEC, max_detections=1).decode({"map": image}, STRETCH)) == 1


NOTHING = (probability(), probability((100, 100, 90, 14, 0), value=0.4), probability((9, 9, 2, 1, 0)))


@pytest.mark.parametrize("image", NOTHING)
def test_nothing_uncertain_or_tiny_is_a_line(image: np.ndarray):
    assert len(Head(SPEC, dilate=False).decode({"map": image}, STRETCH)) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_give_no_invalid_boxes(bad: float):
    """One line is damaged; the other one is found."""
    image = probability((100, 60, 90, 14, 0), (220, 180, 90, 14, 30))
    image[0, 0, :110:3, ::5] = bad
    result = Head(SPEC).decode({"map": image}, STRETCH)
    assert len(result)
    assert np.isfinite(result.corners).all()
    assert (result.xyxy[:, 2:] > result.xyxy[:, :2]).all()


@pytest.mark.parametrize("shape", [(1, 2, 256, 320), (1, 100), (1, 1, 1, 320)])
def test_other_outputs_are_rejected_in_one_line(shape: tuple[int, ...]):
    outputs = (TensorSpec("map", shape, "float32"),)
    with pytest.raises(
        ModelError, match=r"^heads\.lines: family 'dbtext' cannot decode the outputs map .* expected one"
    ):
        Head(HeadSpec("lines", "dbtext", (), SIZE, outputs))
