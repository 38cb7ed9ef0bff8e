"""boxes: fitting an image into an input and mapping back; IoU and NMS against plain loops."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edge_app.geometry.boxes import fit, iou, nms

corner = st.integers(-20, 60)
side = st.integers(0, 40)
box = st.tuples(corner, corner, side, side).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
solid = box.filter(lambda b: b[2] > b[0] and b[3] > b[1])  # IoU is undefined for two boxes without area
score = st.sampled_from([0.1, 0.25, 0.25, 0.5, 0.9, 1.0])  # few values, so that equal scores are common
detections = st.lists(st.tuples(solid, score, st.integers(0, 2)), max_size=40)


def plain_iou(a, b):
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - width * height
    return width * height / union if union else 0.0


def plain_nms(boxes, scores, classes, threshold, limit):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):  # a stable sort
        same_class = [k for k in kept if classes is None or classes[k] == classes[i]]
        if len(kept) < limit and all(plain_iou(boxes[i], boxes[k]) <= threshold for k in same_class):
            kept.append(i)
    return kept


def arrays(rows):
    xyxy = np.array([b for b, _, _ in rows], np.float32).reshape(-1, 4)
    return xyxy, np.array([s for _, s, _ in rows], np.float32), np.array([c for _, _, c in rows], np.int32)


@given(st.lists(box, max_size=12), st.lists(box, max_size=12))
def test_iou_matches_plain_loops(a, b):
    got = iou(np.array(a, np.float32).reshape(-1, 4), np.array(b, np.float32).reshape(-1, 4))
    assert got.shape == (len(a), len(b))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, np.reshape([plain_iou(x, y) for x in a for y in b], got.shape), atol=1e-6)


@settings(max_examples=200)
@given(detections, st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]), st.booleans(), st.integers(1, 45))
def test_nms_matches_plain_loops(rows, threshold, class_aware, limit):
    """The thresholds are exact in float32: a box whose IoU equals the threshold is kept."""
    xyxy, scores, classes = arrays(rows)
    kept = nms(xyxy, scores, classes if class_aware else None, threshold, limit)
    expected = plain_nms(xyxy.tolist(), scores.tolist(), classes.tolist() if class_aware else None, threshold, limit)
    assert kept.tolist() == expected


@settings(max_examples=15, deadline=None)
@given(st.integers(65, 300), st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_nms_of_many_boxes_matches_plain_loops(count, seed, threshold):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 100, (count, 2))
    xyxy = np.concatenate([start, start + rng.uniform(1, 60, (count, 2))], 1).astype(np.float32)
    scores, classes = rng.random(count).astype(np.float32), rng.integers(0, 2, count).astype(np.int32)
    boxes = xyxy.tolist()
    near = [abs(plain_iou(a, b) - threshold) < 1e-5 for i, a in enumerate(boxes) for b in boxes[:i]]
    assume(not any(near))  # float32 may round across the threshold
    expected = plain_nms(boxes, scores.tolist(), classes.tolist(), threshold, 300)
    assert nms(xyxy, scores, classes, threshold).tolist() == expected


def test_nms_of_no_boxes_and_of_one():
    assert nms(np.empty((0, 4), np.float32), np.empty(0, np.float32), None, 0.5).tolist() == []
    assert nms(np.ones((1, 4), np.float32), np.ones(1, np.float32), None, 0.5).tolist() == [0]


@given(st.tuples(st.integers(8, 4000), st.integers(8, 4000)), st.sampled_from([(320, 320), (416, 320), (64, 640)]))
def test_letterbox_keeps_the_aspect_ratio_and_fills_one_dimension(image, size):
    transform = fit(image, size, "letterbox")
    width, height = transform.fitted
    assert width == size[0] or height == size[1]
    assert width <= size[0]
    assert height <= size[1]
    assert transform.pad_x == (size[0] - width) // 2
    assert transform.pad_y == (size[1] - height) // 2
    scale = min(size[0] / image[0], size[1] / image[1])
    assert abs(width - image[0] * scale) <= max(0.5, 1 - image[0] * scale)
    assert abs(height - image[1] * scale) <= max(0.5, 1 - image[1] * scale)


@given(
    image=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    size=st.sampled_from([(224, 224), (320, 96), (64, 640)]),
    fraction=st.sampled_from([1.0, 0.875, 0.5]),
)
def test_a_crop_covers_the_input_and_is_centered(image, size, fraction):
    transform = fit(image, size, "crop", fraction)
    width, height = transform.fitted
    assert width == round(size[0] / fraction) or height == round(size[1] / fraction)
    assert width >= size[0]
    assert height >= size[1]
    for fitted, side, pad in ((width, size[0], transform.pad_x), (height, size[1], transform.pad_y)):
        assert abs(pad + (fitted - side) / 2) <= 0.5


@pytest.mark.parametrize(
    ("image", "fraction", "fitted", "left"),
    [((640, 480), 0.875, (341, 256), 58), ((1920, 1080), 1.0, (398, 224), 87), ((500, 375), 0.875, (341, 256), 58)],
)
def test_a_crop_is_rounded_as_by_torchvision(image, fraction, fitted, left):
    """torchvision.transforms: Resize(short side), CenterCrop(224)."""
    transform = fit(image, (224, 224), "crop", fraction)
    assert transform.fitted == fitted
    assert transform.pad_x == -left


@pytest.mark.parametrize(
    ("image", "fitted"), [((200, 40), (240, 48)), ((96, 48), (96, 48)), ((101, 50), (97, 48)), ((4000, 40), (320, 48))]
)
def test_a_line_takes_the_height_and_begins_at_the_left(image, fitted):
    """PaddleOCR's `resize_norm_img`: width = ceil(height of the input * width / height), at most that of the input."""
    transform = fit(image, (320, 48), "line")
    assert transform.fitted == fitted
    assert (transform.pad_x, transform.pad_y) == (0, 0)
    np.testing.assert_allclose(transform.points_to_image(np.array([fitted], np.float32)), [image], rtol=1e-5)


@pytest.mark.parametrize("resize", ["letterbox", "stretch", "crop", "line"])
@given(
    image=st.tuples(st.integers(32, 4000), st.integers(32, 4000)),
    share=st.tuples(*[st.floats(0, 1, width=32)] * 4).map(sorted),
)
def test_a_box_survives_the_round_trip(resize, image, share):
    """Tolerance: a thousandth of the image size."""
    transform = fit(image, (320, 256), resize)
    xyxy = np.array([share[0], share[1], share[2], share[3]], np.float32) * np.array(image * 2, np.float32)
    scale = np.array([transform.scale_x, transform.scale_y] * 2, np.float32)
    pad = np.array([transform.pad_x, transform.pad_y] * 2, np.float32)
    back = transform.to_image((xyxy * scale + pad)[None])
    np.testing.assert_allclose(back, xyxy[None], atol=max(image) / 1000)


def test_boxes_are_clipped_to_the_image():
    transform = fit((640, 320), (320, 320), "letterbox")
    got = transform.to_image(np.array([[-50, 10, 400, 250]], np.float32))
    assert got.tolist() == [[0, 0, 640, 320]]
    assert got.dtype == np.float32


def test_points_of_any_shape_are_mapped():
    transform = fit((640, 320), (320, 320), "letterbox")
    points = np.full((2, 5, 2), 160, np.float32)
    assert transform.points_to_image(points).tolist() == np.broadcast_to([320.0, 160.0], (2, 5, 2)).tolist()
    assert points[0, 0, 0] == 160  # the argument is unchanged
