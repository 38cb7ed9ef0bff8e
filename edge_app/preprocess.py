"""Frame pixels -> the model's input tensor: fit, colour, normalise, lay out. Buffers are allocated once.

Not here: which frames need it (reuse/), running the model (inference.py).
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app.boxes import Transform, fit
from edge_app.frame import Float32, Frame, UInt8
from edge_app.manifest import Input


class Preprocess:
    """Turns frames into one reused tensor, shape and dtype as the manifest's `input` says.

    Downscaling is bilinear (cv2.INTER_LINEAR), as the public detectors were trained with.
    NV12 is scaled plane by plane and only then converted: colour conversion touches the small picture.
    """

    def __init__(self, spec: Input) -> None:
        self._spec = spec
        self._size = (spec.width, spec.height)
        self._canvas: UInt8 = np.full((spec.height, spec.width, 3), spec.pad, np.uint8)
        self._tensor: NDArray[Any] = np.empty(spec.shape, spec.dtype)
        if spec.dtype == "uint8" and spec.layout == "nhwc":
            self._tensor = self._canvas[None]  # the canvas is the tensor
        self._scale = _plain(1 / np.array(spec.std), spec.layout)
        self._offset = _plain(-np.array(spec.mean) / np.array(spec.std), spec.layout)
        self._planes: UInt8 = np.empty((3, spec.height, spec.width), np.uint8)
        self._transform: Transform | None = None
        self._fitted: UInt8 = np.empty((0, 0, 3), np.uint8)

    @property
    def picture(self) -> UInt8:
        """The last frame as laid into the model's input: (height, width, 3) uint8, in the model's colour order."""
        return self._canvas

    def __call__(self, frame: Frame) -> tuple[NDArray[Any], Transform]:
        """Returns the tensor, valid until the next call, and how the frame was laid into it."""
        transform = self._transform
        if transform is None or (transform.image_width, transform.image_height) != (frame.width, frame.height):
            transform = self._fit(frame)
        width, height = transform.fitted
        inside = self._canvas[transform.pad_y : transform.pad_y + height, transform.pad_x : transform.pad_x + width]
        if frame.format == "nv12" and width % 2 == 0 and height % 2 == 0:
            self._from_nv12(frame, inside)
        else:
            self._from_bgr(frame.image, inside)
        if self._tensor.base is not self._canvas:
            self._lay_out()
        return self._tensor, transform

    def _fit(self, frame: Frame) -> Transform:
        self._transform = fit((frame.width, frame.height), self._size, self._spec.resize)
        width, height = self._transform.fitted
        self._fitted = np.empty((height, width, 3), np.uint8)
        self._canvas[:] = self._spec.pad
        return self._transform

    def _from_bgr(self, image: UInt8, inside: UInt8) -> None:
        size = (inside.shape[1], inside.shape[0])
        if self._spec.color == "bgr":
            _resize(image, size, inside)
            return
        _resize(image, size, self._fitted)
        cv2.cvtColor(self._fitted, cv2.COLOR_BGR2RGB, dst=inside)

    def _from_nv12(self, frame: Frame, inside: UInt8) -> None:
        height, width = inside.shape[:2]
        y = frame.pixels[: frame.height]
        uv = frame.pixels[frame.height :].reshape(frame.height // 2, frame.width // 2, 2)
        small_y = cv2.resize(y, (width, height), interpolation=cv2.INTER_LINEAR)
        small_uv = cv2.resize(uv, (width // 2, height // 2), interpolation=cv2.INTER_LINEAR)
        code = cv2.COLOR_YUV2RGB_NV12 if self._spec.color == "rgb" else cv2.COLOR_YUV2BGR_NV12
        cv2.cvtColorTwoPlane(small_y, small_uv, code, dst=inside)

    def _lay_out(self) -> None:
        """Canvas (H, W, 3) uint8 -> tensor: channels apart where asked, (x - mean) / std where float."""
        image: UInt8 = self._canvas
        if self._spec.layout == "nchw":
            cv2.split(image, list(self._planes))  # contiguous planes: what follows then runs at memory speed
            image = self._planes
        np.copyto(self._tensor[0], image)
        if self._spec.dtype == "uint8":
            return
        if (self._scale != 1).any():
            self._tensor *= self._scale
        if self._offset.any():
            self._tensor += self._offset


def _plain(channels: NDArray[np.float64], layout: str) -> Float32:
    """What each channel is to be multiplied by, or moved by: one number where it is the same for all."""
    spread = channels.astype(np.float32)
    if (spread == spread[0]).all():
        return np.asarray(spread[0], np.float32)
    return spread[:, None, None] if layout == "nchw" else spread


def _resize(image: UInt8, size: tuple[int, int], target: UInt8) -> None:
    """Bilinear, straight into `target` (H, W, 3), whose rows may lie apart."""
    if image.shape == target.shape:
        np.copyto(target, image)
    else:
        cv2.resize(image, size, dst=target, interpolation=cv2.INTER_LINEAR)
