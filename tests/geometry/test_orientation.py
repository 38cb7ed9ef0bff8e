"""Geometry against numpy's own rotations, and NV12 against the same picture in BGR."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.geometry.orientation import Geometry, planes

ROTATIONS = st.sampled_from([0, 90, 180, 270])
FLIPS = st.sampled_from(["none", "horizontal", "vertical"])
FRACTION = st.floats(0, 1)


@st.composite
def crops(draw):
    low, high = st.floats(0, 0.6), st.floats(0.1, 0.4)
    x, y = draw(low), draw(low)
    return draw(st.none() | st.just((x, y, x + draw(high), y + draw(high))))


def picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height, width, 3), np.uint8)


def nv12_picture(height, width, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (height * 3 // 2, width), np.uint8)


def bgr(nv12):
    return cv2.cvtColor(np.ascontiguousarray(nv12), cv2.COLOR_YUV2BGR_NV12)


def slowly_moved(plane, rotate, flip, crop):
    """The obvious way: turn with numpy, mirror by indexing, cut pixel rows whose even pairs touch the crop."""
    plane = np.rot90(plane, -rotate // 90)
    if flip == "horizontal":
        plane = plane[:, ::-1]
    if flip == "vertical":
        plane = plane[::-1]
    if crop is None:
        return plane
    height, width = plane.shape[:2]
    touched = [
        [i for i in range(size) if (i // 2 * 2 + 2) > low * size + 1e-5 and (i // 2 * 2) < high * size - 1e-5]
        for size, low, high in ((height, crop[1], crop[3]), (width, crop[0], crop[2]))
    ]
    return plane[touched[0]][:, touched[1]]


@settings(max_examples=60, deadline=None)
@given(ROTATIONS, FLIPS, crops(), st.integers(8, 40), st.integers(8, 40))
def test_bgr_is_turned_mirrored_and_cropped_as_numpy_does_it(rotate, flip, crop, height, width):
    pixels = picture(height, width)
    before = pixels.copy()
    moved = Geometry(rotate, flip, crop).apply(pixels, "bgr")
    np.testing.assert_array_equal(moved, slowly_moved(pixels, rotate, flip, crop))
    np.testing.assert_array_equal(pixels, before)
    assert moved.flags.c_contiguous


def test_a_crop_is_not_moved_by_rounding_of_the_fraction():
    assert 0.58 * 100 < 58
    assert 0.07 * 100 > 7
    assert Geometry(crop=(0.58, 0.0, 1.0, 1.0)).apply(picture(8, 100), "bgr").shape[1] == 42
    assert Geometry(crop=(0.0, 0.0, 0.14, 1.0)).apply(picture(8, 100), "bgr").shape[1] == 14


@settings(max_examples=60, deadline=None)
@given(ROTATIONS, FLIPS, crops(), st.integers(4, 20), st.integers(4, 20))
def test_nv12_comes_out_as_the_same_picture_in_bgr_would(rotate, flip, crop, half_height, half_width):
    pixels = nv12_picture(half_height * 2, half_width * 2)
    geometry = Geometry(rotate, flip, crop)
    np.testing.assert_array_equal(bgr(geometry.apply(pixels, "nv12")), geometry.apply(bgr(pixels), "bgr"))


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(FRACTION, FRACTION), min_size=3, max_size=6), st.sampled_from(["bgr", "nv12"]))
def test_a_mask_is_black_inside_and_leaves_what_is_away_from_it(polygon, format_):
    height, width = 48, 64
    pixels = picture(height, width) if format_ == "bgr" else nv12_picture(height, width)
    before = pixels if format_ == "bgr" else bgr(pixels)
    before = before.copy()
    masked = Geometry(mask=[polygon]).apply(pixels.copy(), format_)
    masked = masked if format_ == "bgr" else bgr(masked)
    contour = (np.asarray(polygon) * (width, height)).astype(np.float32)
    for y in range(height):
        for x in range(width):
            distance = cv2.pointPolygonTest(contour, (x + 0.5, y + 0.5), True)  # positive inside
            if distance > 0:
                assert not masked[y, x].any(), (x, y)
            elif distance < -4.5:  # the mask's own two pixels, and a chroma cell, diagonally
                np.testing.assert_array_equal(masked[y, x], before[y, x])


@pytest.mark.parametrize("format_", ["bgr", "nv12"])
def test_two_masks_cover_both_corners_and_reach_the_edge(format_):
    pixels = picture(32, 32) if format_ == "bgr" else nv12_picture(32, 32)
    square = [(0, 0), (0.25, 0), (0.25, 0.25), (0, 0.25)]
    opposite = [(1 - x, 1 - y) for x, y in square]
    masked = Geometry(mask=[square, opposite]).apply(pixels, format_)
    masked = masked if format_ == "bgr" else bgr(masked)
    assert not masked[:8, :8].any()
    assert not masked[24:, 24:].any()
    assert masked[16, 16].any()


def test_a_mask_lies_in_the_picture_as_delivered():
    pixels = picture(20, 40)
    masked = Geometry(rotate=90, mask=[[(0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)]]).apply(pixels, "bgr")
    assert masked.shape == (40, 20, 3)
    assert not masked[:20, :10].any()
    assert masked[23:, :].all()


def test_masks_follow_a_picture_that_changes_its_size():
    geometry = Geometry(mask=[[(0, 0), (1, 0), (1, 0.5), (0, 0.5)]])
    for height, width in ((20, 40), (60, 30), (20, 40)):
        masked = geometry.apply(picture(height, width), "bgr")
        assert not masked[: height // 2].any()
        assert masked[height // 2 + 2 :].all()


def test_nothing_configured_hands_the_same_array_on():
    pixels = picture(6, 8)
    geometry = Geometry()
    assert geometry.identity
    assert geometry.apply(pixels, "bgr") is pixels


def test_planes_are_views_of_luma_and_of_chroma_pairs():
    pixels = nv12_picture(4, 6)
    luma, chroma = planes(pixels)
    assert luma.shape == (4, 6)
    assert chroma.shape == (2, 3, 2)
    chroma[1, 2] = 7, 9
    assert list(pixels[5, 4:]) == [7, 9]
