"""Between numpy arrays and a tensor as the NPU stores it: strides, NHWC or NC1HWC2, quantisation.

Views into the buffer are made once; a run only writes through them. Not here: who allocates the buffer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array
from edge_app.backends import _rknn_abi as abi
from edge_app.errors import BackendError

_DTYPES = {abi.FLOAT32: np.float32, abi.FLOAT16: np.float16, abi.INT8: np.int8,
           abi.UINT8: np.uint8, abi.INT16: np.int16}  # fmt: skip
_SPATIAL = {(abi.NHWC, 4): (1, 2), (abi.NC1HWC2, 5): (2, 3), (abi.NCHW, 4): (2, 3)}  # the axes that have strides
_SAME_SCALE = 1e-3  # two conversions round the same range differently; 127 steps of this are an eighth of a step
Bytes = NDArray[np.uint8]


def shape_of(attr: abi.TensorAttr) -> tuple[int, ...]:
    return tuple(attr.dims[: attr.n_dims])


def is_image(native: abi.TensorAttr) -> bool:
    """Whether the NPU takes this input as pixels, NHWC of 1, 3 or 4 channels, and normalises and quantises itself."""
    return native.fmt == abi.NHWC and native.n_dims == 4 and native.dims[3] in (1, 3, 4)


def image_view(attr: abi.TensorAttr, buffer: Bytes) -> Bytes:
    """The pixels (N, H, W, C) uint8 inside an input's buffer, whose rows are `w_stride` pixels long."""
    return _strided(attr, buffer, np.dtype(np.uint8))


def writer(declared: tuple[int, ...], native: abi.TensorAttr, buffer: Bytes) -> Callable[[Array], None]:
    """Returns a function that quantises a float32 array of the declared shape into the buffer."""
    pairs = _pairs(declared, native, buffer)
    dtype = _dtype(native)
    scratch = np.empty(declared, np.float32)
    scale, zero = _affine(native)

    def write(array: Array) -> None:
        if dtype.kind == "f":
            for inside, region in pairs:
                np.copyto(inside, region(array), casting="same_kind")
            return
        limits = np.iinfo(dtype)
        np.divide(array, scale, out=scratch)
        np.rint(scratch, out=scratch)
        np.add(scratch, zero, out=scratch)
        np.clip(scratch, limits.min, limits.max, out=scratch)
        for inside, region in pairs:
            np.copyto(inside, region(scratch), casting="unsafe")

    return write


def reader(
    declared: tuple[int, ...], native: abi.TensorAttr, buffer: Bytes, out: NDArray[np.float32]
) -> Callable[[], None]:
    """Returns a function that dequantises the buffer into `out`, float32 of the declared shape."""
    pairs = [(inside, region(out)) for inside, region in _pairs(declared, native, buffer)]
    scale, zero = _affine(native)

    def read() -> None:
        for inside, region in pairs:
            if zero:
                np.subtract(inside, zero, out=region, dtype=np.float32)
            else:
                np.copyto(region, inside)
        if scale != 1:
            np.multiply(out, scale, out=out)

    return read


def same(a: abi.TensorAttr, b: abi.TensorAttr) -> bool:
    """Whether one graph's output buffer can be another's input as it lies: layout, strides, type and quantisation."""
    fields = ("fmt", "type", "qnt_type", "fl", "zp", "w_stride", "h_stride", "size_with_stride")
    alike = shape_of(a) == shape_of(b) and all(getattr(a, f) == getattr(b, f) for f in fields)
    return alike and abs(a.scale - b.scale) <= _SAME_SCALE * abs(a.scale)


def _pairs(
    declared: tuple[int, ...], native: abi.TensorAttr, buffer: Bytes
) -> list[tuple[Array, Callable[[Array], Array]]]:
    """Views into the buffer, each with the region of an array of the declared shape that it holds, axes alike."""
    dtype = _dtype(native)
    if native.fmt == abi.NC1HWC2:
        _, channels = declared[:2]
        blocks = _strided(native, buffer, dtype)  # (N, C1, H, W, C2)
        depth = blocks.shape[4]
        return [
            (
                blocks[:, i, :, :, : min(depth, channels - i * depth)].transpose(0, 3, 1, 2),
                lambda array, i=i: array[:, i * depth : (i + 1) * depth],  # type: ignore[misc]
            )
            for i in range(-(-channels // depth))
        ]
    inside: Array = _strided(native, buffer, dtype)
    if native.fmt == abi.NHWC and inside.ndim == 4:
        inside = inside.transpose(0, 3, 1, 2)
    if inside.shape != declared:
        inside = inside.reshape(declared)
        if not np.shares_memory(inside, buffer):
            raise BackendError(f"tensor {native.name.decode()}: stored as {shape_of(native)}, which is no {declared}")
    return [(inside, lambda array: array)]


def _strided(attr: abi.TensorAttr, buffer: Bytes, dtype: np.dtype[Any]) -> Array:
    """The buffer in its stored shape, the padding of rows and columns cut off."""
    shape = shape_of(attr)
    rows, columns = _SPATIAL.get((attr.fmt, len(shape)), (0, 0))
    padded = list(shape)
    if columns:
        padded[columns] = max(attr.w_stride, shape[columns])
        padded[rows] = max(attr.h_stride, shape[rows])
    size = int(np.prod(padded)) * dtype.itemsize
    if size > buffer.size:
        raise BackendError(
            f"tensor {attr.name.decode()}: {shape} with strides needs {size} bytes; the runtime says {buffer.size}"
        )
    return buffer[:size].view(dtype).reshape(padded)[tuple(slice(n) for n in shape)]


def _dtype(attr: abi.TensorAttr) -> np.dtype[Any]:
    if attr.type not in _DTYPES:
        raise BackendError(f"tensor {attr.name.decode()}: type {attr.type} of the runtime is not supported")
    return np.dtype(_DTYPES[attr.type])


def _affine(attr: abi.TensorAttr) -> tuple[np.float32, np.float32]:
    """Scale and zero point of real = (q - zero) * scale."""
    if attr.qnt_type == abi.QNT_AFFINE:
        return np.float32(attr.scale), np.float32(attr.zp)
    if attr.qnt_type == abi.QNT_DFP:
        return np.float32(2.0**-attr.fl), np.float32(0)
    return np.float32(1), np.float32(0)
