"""Convert between numpy arrays and tensors in the NPU's layout: strides, NHWC or NC1HWC2, quantization.

Views into the buffers are created once; a run only reads and writes through them. Not here: allocating the buffers.
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
_SAME_SCALE = 1e-3  # two conversions may round the same range differently; at 127 steps the error is 1/8 step
Bytes = NDArray[np.uint8]


def shape_of(attr: abi.TensorAttr) -> tuple[int, ...]:
    """The shape of a tensor as in its attributes, without strides."""
    return tuple(attr.dims[: attr.n_dims])


def is_image(native: abi.TensorAttr) -> bool:
    """Whether the input takes pixels (NHWC with 1, 3 or 4 channels), which the NPU normalizes and quantizes."""
    return native.fmt == abi.NHWC and native.n_dims == 4 and native.dims[3] in (1, 3, 4)


def image_view(attr: abi.TensorAttr, buffer: Bytes) -> Bytes:
    """A view of the pixels (N, H, W, C) uint8 in an input's buffer, whose rows are `w_stride` pixels long."""
    return _strided(attr, buffer, np.dtype(np.uint8))


def writer(declared: tuple[int, ...], native: abi.TensorAttr, buffer: Bytes) -> Callable[[Array], None]:
    """Return a function that quantizes a float32 array of the declared shape into the buffer."""
    pairs = _pairs(declared, native, buffer)
    dtype = _dtype(native)
    scratch = np.empty(declared, np.float32)
    scale, zero = _affine(native)

    def write(array: Array) -> None:
        if dtype.kind == "f":
            for stored, region in pairs:
                np.copyto(stored, region(array), casting="same_kind")
            return
        limits = np.iinfo(dtype)
        np.divide(array, scale, out=scratch)
        np.rint(scratch, out=scratch)
        np.add(scratch, zero, out=scratch)
        np.clip(scratch, limits.min, limits.max, out=scratch)
        for stored, region in pairs:
            np.copyto(stored, region(scratch), casting="unsafe")

    return write


def reader(
    declared: tuple[int, ...], native: abi.TensorAttr, buffer: Bytes, out: NDArray[np.float32]
) -> Callable[[], None]:
    """Return a function that dequantizes the buffer into `out`, float32 of the declared shape."""
    pairs = [(stored, region(out)) for stored, region in _pairs(declared, native, buffer)]
    scale, zero = _affine(native)

    def read() -> None:
        for stored, region in pairs:
            if zero:
                np.subtract(stored, zero, out=region, dtype=np.float32)
            else:
                np.copyto(region, stored)
        if scale != 1:
            np.multiply(out, scale, out=out)

    return read


def compatible(a: abi.TensorAttr, b: abi.TensorAttr) -> bool:
    """Whether an output buffer can be bound as an input: same layout, strides, type and quantization."""
    fields = ("fmt", "type", "qnt_type", "fl", "zp", "w_stride", "h_stride", "size_with_stride")
    equal = shape_of(a) == shape_of(b) and all(getattr(a, f) == getattr(b, f) for f in fields)
    return equal and abs(a.scale - b.scale) <= _SAME_SCALE * abs(a.scale)


def _pairs(
    declared: tuple[int, ...], native: abi.TensorAttr, buffer: Bytes
) -> list[tuple[Array, Callable[[Array], Array]]]:
    """Pairs of a view into the buffer, axes as declared, and a function that returns the region of an array for it."""
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
    stored: Array = _strided(native, buffer, dtype)
    if native.fmt == abi.NHWC and stored.ndim == 4:
        stored = stored.transpose(0, 3, 1, 2)
    if stored.shape != declared:
        stored = stored.reshape(declared)
        if not np.shares_memory(stored, buffer):
            raise BackendError(f"tensor {native.name.decode()}: stored as {shape_of(native)}; expected {declared}")
    return [(stored, lambda array: array)]


def _strided(attr: abi.TensorAttr, buffer: Bytes, dtype: np.dtype[Any]) -> Array:
    """A view of the buffer in its stored shape, without the padding of rows and columns."""
    shape = shape_of(attr)
    rows, columns = _SPATIAL.get((attr.fmt, len(shape)), (0, 0))
    padded = list(shape)
    if columns:
        padded[columns] = max(attr.w_stride, shape[columns])
        padded[rows] = max(attr.h_stride, shape[rows])
    size = int(np.prod(padded)) * dtype.itemsize
    if size > buffer.size:
        raise BackendError(
            f"tensor {attr.name.decode()}: {shape} with strides needs {size} bytes; the runtime reports {buffer.size}"
        )
    return buffer[:size].view(dtype).reshape(padded)[tuple(slice(n) for n in shape)]


def _dtype(attr: abi.TensorAttr) -> np.dtype[Any]:
    if attr.type not in _DTYPES:
        raise BackendError(f"tensor {attr.name.decode()}: the runtime's type {attr.type} is not supported")
    return np.dtype(_DTYPES[attr.type])


def _affine(attr: abi.TensorAttr) -> tuple[np.float32, np.float32]:
    """Scale and zero point of real = (q - zero) * scale."""
    if attr.qnt_type == abi.QNT_AFFINE:
        return np.float32(attr.scale), np.float32(attr.zp)
    if attr.qnt_type == abi.QNT_DFP:
        return np.float32(2.0**-attr.fl), np.float32(0)
    return np.float32(1), np.float32(0)
