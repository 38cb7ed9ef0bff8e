"""Preprocess, compared with a simple reference."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.frame import Frame
from edge_app.inference.preprocess import Preprocess
from edge_app.model.schema import Input


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 4)


def reference(image: np.ndarray, spec: Input) -> np.ndarray:
    """Slow and simple: resize, pad or cut, swap channels, subtract, divide, transpose."""
    height, width = image.shape[:2]
    canvas = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
    if spec.resize == "stretch":
        canvas = cv2.resize(image, (spec.width, spec.height), interpolation=cv2.INTER_LINEAR)
    elif spec.resize == "crop":
        short = round(min(spec.width, spec.height) / spec.crop_fraction)
        assert spec.width == spec.height
        w, h = (short, short * height // width) if width < height else (short * width // height, short)
        x, y = round((w - spec.width) / 2), round((h - spec.height) / 2)
        whole = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
        canvas = whole[y : y + spec.height, x : x + spec.width]
    else:
        scale = min(spec.width / width, spec.height / height)
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        x, y = (spec.width - w) // 2, (spec.height - h) // 2
        canvas[y : y + h, x : x + w] = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    if spec.color == "rgb":
        canvas = canvas[:, :, ::-1]
    tensor = canvas if spec.dtype == "uint8" else (canvas.astype(np.float64) - spec.mean) / spec.std
    tensor = tensor[None] if spec.layout == "nhwc" else tensor.transpose(2, 0, 1)[None]
    return tensor.astype(spec.dtype)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (33, 91), (64, 64), (5, 200)])
@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_agrees_with_the_reference(size, resize, dtype, layout, color):
    mean, std = ((103.5, 116.3, 0.0), (57.4, 57.1, 255.0)) if dtype == "float32" else ((0.0,) * 3, (255.0,) * 3)
    spec = Input(64, 56, color, layout, dtype, mean, std, resize)
    preprocess = Preprocess(spec)
    for seed in range(2):  # the second time reuses every buffer
        image = picture(*size, seed)
        tensor, _ = preprocess.prepare(Frame("t", 0, 0, 0, image))
        assert (tensor.shape, tensor.dtype) == (spec.shape, np.dtype(dtype))
        np.testing.assert_allclose(tensor, reference(image, spec), rtol=0, atol=2e-6)


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_several_tensors_take_turns(layout, dtype):
    spec = Input(32, 24, layout=layout, dtype=dtype)
    preprocess = Preprocess(spec, 3)
    images = [picture(64, 48, seed) for seed in range(6)]
    for first in (0, 3):
        tensors = [preprocess.prepare(Frame("t", 0, 0, 0, image))[0] for image in images[first : first + 3]]
        for tensor, image in zip(tensors, images[first:]):
            np.testing.assert_allclose(tensor, reference(image, spec), rtol=0, atol=2e-6)


@pytest.mark.parametrize("size", [(64, 48), (48, 64), (33, 91), (56, 56), (5, 200)])
@pytest.mark.parametrize("fraction", [1.0, 0.875, 0.5])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_a_crop_agrees_with_resizing_the_short_side_and_cutting(size, fraction, color):
    """warpAffine and resize round differently: within one gray level."""
    spec = Input(56, 56, color, "nhwc", "uint8", resize="crop", crop_fraction=fraction)
    preprocess = Preprocess(spec)
    for seed in range(2):
        image = picture(*size, seed)
        tensor, _ = preprocess.prepare(Frame("t", 0, 0, 0, image))
        np.testing.assert_allclose(tensor, reference(image, spec), rtol=0, atol=1)


def test_a_crop_into_an_input_that_is_not_square_covers_it():
    spec = Input(96, 32, "bgr", "nhwc", "uint8", resize="crop")
    image = picture(64, 48)
    tensor, transform = Preprocess(spec).prepare(Frame("t", 0, 0, 0, image))
    assert (transform.fitted, transform.pad_x, transform.pad_y) == ((96, 72), 0, -20)
    expected = cv2.resize(image, (96, 72), interpolation=cv2.INTER_LINEAR)[20:52]
    np.testing.assert_allclose(tensor[0], expected, rtol=0, atol=1)


def test_a_new_frame_size_moves_the_crop():
    spec = Input(56, 56, "rgb", "nhwc", "uint8", resize="crop")
    preprocess = Preprocess(spec)
    for size in ((64, 48), (48, 64), (64, 48)):
        image = picture(*size)
        tensor, _ = preprocess.prepare(Frame("t", 0, 0, 0, image))
        np.testing.assert_allclose(tensor, reference(image, spec), rtol=0, atol=1)


def test_a_new_frame_size_clears_the_padding():
    spec = Input(64, 64, dtype="uint8", layout="nhwc")
    preprocess = Preprocess(spec)
    preprocess.prepare(Frame("t", 0, 0, 0, picture(64, 64)))
    wide = picture(64, 20)
    tensor, transform = preprocess.prepare(Frame("t", 1, 0, 0, wide))
    np.testing.assert_array_equal(tensor, reference(wide, spec))
    assert (transform.pad_x, transform.pad_y) == (0, 22)


def test_reuses_the_tensor_and_does_not_modify_the_frame():
    preprocess = Preprocess(Input(32, 32))
    image = picture(64, 48)
    kept = image.copy()
    first, _ = preprocess.prepare(Frame("t", 0, 0, 0, image))
    second, _ = preprocess.prepare(Frame("t", 1, 0, 0, image))
    assert first is second
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_nv12_agrees_with_converting_before_resizing(color):
    """Resizing before conversion rounds differently: within 3 gray levels on average, on a smooth image."""
    bgr = picture(128, 96)
    i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    nv12 = np.concatenate((i420[:96].ravel(), i420[96:].reshape(2, -1).T.ravel())).reshape(144, 128)
    spec = Input(64, 64, color, "nhwc", "uint8")
    frame = Frame("t", 0, 0, 0, nv12, "nv12")
    tensor, _ = Preprocess(spec).prepare(frame)
    assert frame._image is None, "the full image was converted"
    difference = np.abs(tensor.astype(int) - reference(bgr, spec))
    assert difference[:, 8:56].mean() < 3
    assert (tensor[:, :8] == spec.pad).all()


@pytest.mark.parametrize("fraction", [1.0, 0.875])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_a_crop_of_nv12_agrees_with_converting_before_resizing(color, fraction):
    bgr = picture(130, 96)  # the crop begins at an odd column
    i420 = cv2.cvtColor(bgr, cv2.COLOR_BGR2YUV_I420)
    nv12 = np.concatenate((i420[:96].ravel(), i420[96:].reshape(2, -1).T.ravel())).reshape(144, 130)
    spec = Input(64, 64, color, "nhwc", "uint8", resize="crop", crop_fraction=fraction)
    frame = Frame("t", 0, 0, 0, nv12, "nv12")
    tensor, _ = Preprocess(spec).prepare(frame)
    assert frame._image is None, "the full image was converted"
    assert np.abs(tensor.astype(int) - reference(bgr, spec)).mean() < 3
