"""What every family does with a graph's outputs: read their shapes, check the labels, refuse what it cannot decode.

Not here: any format. Shapes that the graph leaves free are read from the first arrays that arrive.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.errors import ModelError
from edge_app.frame import Float32
from edge_app.heads import HeadSpec

Arrays = Mapping[str, NDArray[Any]]


def fixed(outputs: tuple[TensorSpec, ...]) -> bool:
    """Whether there are outputs and all their shapes are known; a free batch counts as one."""
    return bool(outputs) and all(None not in output.shape[1:] for output in outputs)


def described(arrays: Arrays) -> tuple[TensorSpec, ...]:
    """The specs of arrays that have arrived."""
    return tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items())


def shape_of(output: TensorSpec) -> tuple[int, ...]:
    """The shape without the batch. output: of known shape; more than one picture in the batch gives no shape, ()."""
    batch, *rest = output.shape or (None,)
    return tuple(n for n in rest if n is not None) if batch in (1, None) else ()


def unusable(spec: HeadSpec, outputs: tuple[TensorSpec, ...], expected: str) -> ModelError:
    """The error for outputs that a family cannot decode. expected: in a user's words, with shapes."""
    found = ", ".join(f"{output.name} {_text(output.shape)}" for output in outputs)
    width, height = spec.input_size
    return ModelError(
        f"heads.{spec.name}: family '{spec.family}' cannot decode the outputs {found or 'none'} "
        f"of a {width}x{height} input; expected {expected}"
    )


def check_labels(spec: HeadSpec, classes: int) -> None:
    """Labels are as many as the graph's classes, or none at all. Raises ModelError."""
    if spec.labels and len(spec.labels) != classes:
        raise ModelError(
            f"heads.{spec.name}.labels: found {len(spec.labels)}, the graph has {classes} classes; "
            f"expected one for each, or none"
        )


def float32(array: NDArray[Any]) -> Float32:
    """The array as float32; NPU backends may deliver float16."""
    return array.astype(np.float32, copy=False)


def sigmoid(x: Float32) -> Float32:
    """1 / (1 + e^-x), without overflow. x: any shape."""
    power = np.exp(-np.maximum(x, np.float32(-80)))  # float32 holds e^80
    power += 1
    return np.asarray(1 / power, np.float32)


def logit(probability: float) -> float:
    """The inverse of `sigmoid`; infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(np.float64(probability)) - np.log1p(-np.float64(probability)))


def _text(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if n is None else str(n) for n in shape)
