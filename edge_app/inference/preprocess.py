"""Convert the pixels of a frame to the model's input tensor: resize, color, normalize, layout. Allocates buffers once.

Not here: which frames need it (stage.py).
"""

from __future__ import annotations

from itertools import cycle
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.frame import Float32, Frame, UInt8
from edge_app.geometry.boxes import Transform, fit
from edge_app.model.schema import Input

Float64 = NDArray[np.float64]
_Scaling = tuple[UInt8, Float32, float, float]  # source, target, factor, offset


class _Target(NamedTuple):
    """A tensor and, for the layout nchw, how it is filled.

    planes: receive the channels of the canvas. scalings: from the planes into a float tensor.
    """

    tensor: NDArray[Any]
    planes: list[UInt8]
    scalings: list[_Scaling]


class Preprocess:
    """Writes frames into one tensor, or several in turn, of the shape and dtype of the manifest's `input`.

    Resizing is bilinear (cv2.INTER_LINEAR), as in the training of the public detectors. A crop is sampled as if the
    whole image were resized first.
    NV12 is resized plane by plane before its color conversion, which then runs on the small image.
    """

    def __init__(self, spec: Input, tensors: int = 1) -> None:
        self._spec = spec
        self._size = (spec.width, spec.height)
        self._canvas: UInt8 = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
        self._scale: Float32 = (1 / np.array(spec.std)).astype(np.float32)
        self._offset: Float32 = (-np.array(spec.mean) / np.array(spec.std)).astype(np.float32)
        self._targets = cycle(self._allocate(tensors))
        self._transform: Transform | None = None
        self._fitted: UInt8 = np.empty((0, 0, 3), np.uint8)
        self._inside, self._even = self._canvas, False  # the image inside the canvas; whether its sides are even
        self._crop_of_uv: Float64 = np.zeros((2, 3))
        self._crop: Float64 | None = None  # (2, 3), from canvas to image: cv2.warpAffine; None: the whole image

    @property
    def resized(self) -> UInt8:
        """The last frame as resized for the model: (height, width, 3) uint8, in the model's color order."""
        return self._canvas

    def prepare(self, frame: Frame) -> tuple[NDArray[Any], Transform]:
        """Convert a frame. Returns a tensor, valid for `tensors` calls, and how the frame was fitted into it."""
        transform = self._transform
        if transform is None or (transform.image_width, transform.image_height) != (frame.width, frame.height):
            transform = self._fit(frame)
        if frame.format == "nv12" and self._even:
            self._from_nv12(frame, self._inside)
        else:
            self._from_bgr(frame.image, self._inside)
        target = next(self._targets)
        if target.tensor.base is not self._canvas:
            self._write_tensor(target)
        return target.tensor, transform

    def _fit(self, frame: Frame) -> Transform:
        spec = self._spec
        self._transform = fit((frame.width, frame.height), self._size, spec.resize, spec.crop_fraction)
        width, height = self._transform.fitted
        x, y = self._transform.pad_x, self._transform.pad_y
        if spec.resize == "crop":
            self._crop = _matrix(self._transform, 1)
            self._crop_of_uv = _matrix(self._transform, 2)
            (width, height), x, y = self._size, 0, 0
        self._fitted = np.empty((height, width, 3), np.uint8)
        self._canvas[:] = spec.pad
        self._inside = self._canvas[y : y + height, x : x + width]
        self._even = width % 2 == 0 and height % 2 == 0
        return self._transform

    def _from_bgr(self, image: UInt8, inside: UInt8) -> None:
        if self._spec.color == "bgr":
            self._fill(inside, image)
            return
        self._fill(self._fitted, image)
        cv2.cvtColor(self._fitted, cv2.COLOR_BGR2RGB, dst=inside)

    def _fill(self, target: UInt8, image: UInt8) -> None:
        """Resize the image, or the crop of it, to the size of the target."""
        size = (target.shape[1], target.shape[0])
        if self._crop is None:
            _resize(image, size, target)
        else:
            _sample(image, self._crop, size, target)

    def _from_nv12(self, frame: Frame, inside: UInt8) -> None:
        height, width = inside.shape[:2]
        y = frame.pixels[: frame.height]
        uv = frame.pixels[frame.height :].reshape(frame.height // 2, frame.width // 2, 2)
        if self._crop is None:
            small_y = cv2.resize(y, (width, height), interpolation=cv2.INTER_LINEAR)
            small_uv = cv2.resize(uv, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
        else:
            small_y = _sample(y, self._crop, (width, height))
            small_uv = _sample(uv, self._crop_of_uv, (width // 2, height // 2))
        code = cv2.COLOR_YUV2RGB_NV12 if self._spec.color == "rgb" else cv2.COLOR_YUV2BGR_NV12
        cv2.cvtColorTwoPlane(small_y, small_uv, code, dst=inside)

    def _allocate(self, tensors: int) -> list[_Target]:
        spec = self._spec
        if tensors == 1 and spec.dtype == "uint8" and spec.layout == "nhwc":
            return [_Target(self._canvas[None], [], [])]  # the canvas is the tensor
        planes: UInt8 = np.empty(spec.shape[1:] if spec.layout == "nchw" else (0, 0, 0), np.uint8)
        return [self._target(np.empty(spec.shape, spec.dtype), planes) for _ in range(tensors)]

    def _target(self, tensor: NDArray[Any], planes: UInt8) -> _Target:
        """planes: (3, H, W), or empty for the layout nhwc; all tensors share them."""
        if self._spec.layout == "nhwc":
            return _Target(tensor, [], [])
        if self._spec.dtype == "uint8":
            return _Target(tensor, list(tensor[0]), [])
        scale, offset = self._scale.tolist(), self._offset.tolist()
        if len(set(scale)) == len(set(offset)) == 1:  # all channels at once
            rows = -1, self._spec.width
            return _Target(tensor, list(planes), [(planes.reshape(rows), tensor.reshape(rows), scale[0], offset[0])])
        return _Target(tensor, list(planes), list(zip(planes, tensor[0], scale, offset)))

    def _write_tensor(self, target: _Target) -> None:
        """Write the canvas (H, W, 3) uint8 into a tensor, in its layout; (x - mean) / std if it is float."""
        if self._spec.layout == "nchw":
            cv2.split(self._canvas, target.planes)
            for plane, values, scale, offset in target.scalings:  # one pass; numpy would take three
                cv2.addWeighted(plane, scale, plane, 0, offset, dst=values, dtype=cv2.CV_32F)
        elif self._spec.dtype == "uint8":
            np.copyto(target.tensor[0], self._canvas)
        else:
            np.multiply(self._canvas, self._scale, out=target.tensor[0])
            target.tensor[0] += self._offset


def _matrix(transform: Transform, pixels: int) -> Float64:
    """The map from input to image for planes with one sample per `pixels` pixels in x and y; samples have centers."""
    rows = []
    for axis, (pad, scale) in enumerate(((transform.pad_x, transform.scale_x), (transform.pad_y, transform.scale_y))):
        row = [0.0, 0.0, (0.5 - pad / pixels) / scale - 0.5]
        row[axis] = 1 / scale
        rows.append(row)
    return np.array(rows)


def _sample(image: UInt8, crop: Float64, size: tuple[int, int], target: UInt8 | None = None) -> UInt8:
    """Sample a part of an image bilinearly. crop: (2, 3), from the result to the image."""
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    result = cv2.warpAffine(image, crop, size, dst=target, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(result, np.uint8)


def _resize(image: UInt8, size: tuple[int, int], target: UInt8) -> None:
    """Resize bilinearly into `target` (H, W, 3), which may be a view with gaps between rows."""
    if image.shape == target.shape:
        np.copyto(target, image)
    else:
        cv2.resize(image, size, dst=target, interpolation=cv2.INTER_LINEAR)
