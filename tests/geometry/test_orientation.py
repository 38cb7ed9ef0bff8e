"""orientation: BGR against numpy's rotations, NV12 against the same image in BGR, and what masks cover."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_app.geometry.orientation import Geometry, planes

ROTATIONS = st.sampled_from([0, 90, 180, 270])
FLIPS = st.sampled_from(["none", "horizontal", "vertical"])
FRACTION = st.floats(0, 1)
COORDINATE = st.integers(0, 512).map(lambda n: n / 512)
POLYGON = st.lists(st.tuples(COORDINATE, COORDINATE), min_size=3, max_size=8)  # most of them cross themselves
STAR = [(0.5, 0.05), (0.78, 0.95), (0.05, 0.4), (0.95, 0.4), (0.22, 0.95)]  # five points, drawn in one stroke
FORMATS = ["bgr", "nv12"]


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


def masked_bgr(polygons, height, width, format_):
    """A random image without black pixels before and after masking: two arrays (height, width, 3), BGR."""
    pixels = picture(height, width) if format_ == "bgr" else nv12_picture(height, width)
    masked = Geometry(mask=polygons).apply(pixels.copy(), format_)
    return (pixels, masked) if format_ == "bgr" else (bgr(pixels), bgr(masked))


def inside(polygon, height, width):
    """Pixels (height, width) whose center is inside a polygon by the even-odd rule or the nonzero rule."""
    y, x = np.arange(height) + 0.5, np.arange(width) + 0.5
    crossings, winding = np.zeros((2, height, width), int)
    corners = np.asarray(polygon) * (width, height)
    for (x1, y1), (x2, y2) in zip(corners, np.roll(corners, -1, axis=0)):
        rows = (y1 > y) != (y2 > y)
        edge_x = x1 + (y - y1) / (y2 - y1 or 1) * (x2 - x1)
        hits = rows[:, None] & (x < edge_x[:, None])
        crossings += hits
        winding += hits if y2 > y1 else -1 * hits
    return (crossings % 2 == 1) | (winding != 0)


def reference(plane, rotate, flip, crop):
    """Reference: rotate with numpy, flip by indexing, keep the rows and columns whose even pairs touch the crop."""
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
def test_bgr_matches_the_numpy_reference(rotate, flip, crop, height, width):
    pixels = picture(height, width)
    before = pixels.copy()
    moved = Geometry(rotate, flip, crop).apply(pixels, "bgr")
    np.testing.assert_array_equal(moved, reference(pixels, rotate, flip, crop))
    np.testing.assert_array_equal(pixels, before)
    assert moved.flags.c_contiguous


def test_a_crop_is_not_shifted_by_floating_point_rounding():
    assert 0.58 * 100 < 58
    assert 0.07 * 100 > 7
    assert Geometry(crop=(0.58, 0.0, 1.0, 1.0)).apply(picture(8, 100), "bgr").shape[1] == 42
    assert Geometry(crop=(0.0, 0.0, 0.14, 1.0)).apply(picture(8, 100), "bgr").shape[1] == 14


@settings(max_examples=60, deadline=None)
@given(ROTATIONS, FLIPS, crops(), st.integers(4, 20), st.integers(4, 20))
def test_nv12_matches_the_same_image_in_bgr(rotate, flip, crop, half_height, half_width):
    pixels = nv12_picture(half_height * 2, half_width * 2)
    geometry = Geometry(rotate, flip, crop)
    np.testing.assert_array_equal(bgr(geometry.apply(pixels, "nv12")), geometry.apply(bgr(pixels), "bgr"))


@settings(max_examples=150, deadline=None)
@given(POLYGON, st.sampled_from(FORMATS), st.integers(4, 24), st.integers(4, 32))
def test_a_mask_covers_every_pixel_inside_even_if_it_crosses_itself(polygon, format_, half_height, half_width):
    height, width = half_height * 2, half_width * 2
    _, masked = masked_bgr([polygon], height, width, format_)
    assert not masked[inside(polygon, height, width)].any()


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("corners", [STAR, STAR[::-1]])
def test_a_star_leaves_no_pixel_in_its_center_visible(corners, format_):
    """The even-odd rule counts the pentagon in the middle as outside."""
    _, masked = masked_bgr([corners], 120, 160, format_)
    middle = inside(corners, 120, 160)
    assert middle[62, 80]
    assert not masked[middle].any()


@pytest.mark.parametrize("format_", FORMATS)
def test_a_mask_covers_an_enclosed_area_that_no_fill_rule_counts_as_inside(format_):
    """A large square clockwise, then a small one counterclockwise: winding number 0 within the small one."""
    outer = [(0.1, 0.1), (0.9, 0.1), (0.9, 0.9), (0.1, 0.9)]
    inner = [(0.3, 0.3), (0.3, 0.7), (0.7, 0.7), (0.7, 0.3)]
    polygon = [*outer, outer[0], *inner, inner[0]]
    assert not inside(polygon, 64, 64)[32, 32]
    _, masked = masked_bgr([polygon], 64, 64, format_)
    assert not masked[8:56, 8:56].any()


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(0, 6.28), min_size=3, max_size=6, unique=True).map(sorted), st.sampled_from(FORMATS))
def test_a_mask_changes_nothing_far_from_it(angles, format_):
    """A convex polygon. Far: 4.5 px, the mask's two extra pixels and a chroma cell, measured diagonally."""
    height, width = 48, 64
    polygon = [(0.5 + 0.4 * np.cos(a), 0.5 + 0.4 * np.sin(a)) for a in angles]
    before, masked = masked_bgr([polygon], height, width, format_)
    contour = (np.asarray(polygon) * (width, height)).astype(np.float32)
    for y in range(height):
        for x in range(width):
            if cv2.pointPolygonTest(contour, (x + 0.5, y + 0.5), True) < -4.5:
                np.testing.assert_array_equal(masked[y, x], before[y, x])


def test_a_notch_that_opens_to_the_edge_of_the_image_stays_visible():
    notched = [(0.2, 0), (1, 0), (1, 0.3), (0.5, 0.3), (0.5, 0.7), (1, 0.7), (1, 1), (0.2, 1)]
    before, masked = masked_bgr([notched], 40, 40, "bgr")
    assert not masked[inside(notched, 40, 40)].any()
    np.testing.assert_array_equal(masked[15:25, 23:], before[15:25, 23:])


@pytest.mark.parametrize("format_", FORMATS)
def test_two_masks_cover_both_corners_and_reach_the_edge(format_):
    square = [(0, 0), (0.25, 0), (0.25, 0.25), (0, 0.25)]
    opposite = [(1 - x, 1 - y) for x, y in square]
    _, masked = masked_bgr([square, opposite], 32, 32, format_)
    assert not masked[:8, :8].any()
    assert not masked[24:, 24:].any()
    assert masked[16, 16].any()


def test_a_mask_is_in_coordinates_of_the_rotated_image():
    pixels = picture(20, 40)
    masked = Geometry(rotate=90, mask=[[(0, 0), (0.5, 0), (0.5, 0.5), (0, 0.5)]]).apply(pixels, "bgr")
    assert masked.shape == (40, 20, 3)
    assert not masked[:20, :10].any()
    assert masked[23:, :].all()


def test_masks_are_rebuilt_if_the_image_changes_its_size():
    geometry = Geometry(mask=[[(0, 0), (1, 0), (1, 0.5), (0, 0.5)]])
    for height, width in ((20, 40), (60, 30), (20, 40)):
        masked = geometry.apply(picture(height, width), "bgr")
        assert not masked[: height // 2].any()
        assert masked[height // 2 + 2 :].all()


def test_without_options_the_same_array_is_returned():
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
