from __future__ import annotations

import numpy as np
import pytest

from edge_app.slim.data import open_data
from edge_app.slim.data.pictures import Changes, load
from edge_app.slim.recipe import HeadRecipe
from tests.slim import pictures


@pytest.mark.parametrize("seed", [None, *range(6)])
def test_boxes_follow_the_picture(tmp_path, seed):
    """Without and with random changes, the box contains the square's color, and little else does."""
    found = open_data(pictures.yolo(tmp_path), HeadRecipe("detect"), 0.0)
    for example in found.train[1:8:2]:
        changes = None if seed is None else Changes(np.random.default_rng(seed), mirror=True)
        sample = load(example, (96, 64), 2, changes)
        assert sample.image.shape == (64, 96, 3)
        (x1, y1, x2, y2), *_ = sample.boxes
        y, x = np.mgrid[:64, :96] + 0.5
        pixels = sample.image.astype(int)
        red = pixels[..., 0] - pixels[..., 2] > 60  # RGB
        outside = np.maximum(np.maximum(x1 - x, x - x2), np.maximum(y1 - y, y - y2))  # pixels; negative inside
        assert not red[outside > 1].any()
        assert red[outside < -1].all()


def test_masks_follow_the_picture(tmp_path):
    found = open_data(pictures.masks(tmp_path), HeadRecipe("segment"), 0.0)
    sample = load(found.train[0], (96, 64), 1, Changes(np.random.default_rng(1), mirror=True))
    pixels = sample.image.astype(int)
    red = pixels[..., 0] - pixels[..., 2] > 60
    assert (red == (sample.mask == 1)).mean() > 0.97
    assert (sample.mask == 255).any()  # beside the picture, nothing is known


def test_the_same_seed_gives_the_same_sample(tmp_path):
    found = open_data(pictures.yolo(tmp_path), HeadRecipe("detect"), 0.0)
    a, b, c = (load(found.train[0], (64, 64), 2, Changes(np.random.default_rng(s), mirror=False)) for s in (3, 3, 4))
    assert np.array_equal(a.image, b.image)
    assert not np.array_equal(a.image, c.image)


def test_a_large_picture_is_shrunk_by_area(tmp_path):
    """Single bright pixels average out; a plain warp would keep or lose them."""
    import cv2

    image = np.zeros((640, 640, 3), np.uint8)
    image[::2, ::2] = 255
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "1.png"), image)
    found = open_data(tmp_path, HeadRecipe("classify"), 0.0)
    sample = load(found.train[0], (64, 64), 2, None)
    assert sample.image[8:56, 8:56].mean() == pytest.approx(64, abs=2)
    assert sample.image[8:56, 8:56].std() < 4
