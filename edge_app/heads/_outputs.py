"""Shared by all families: read the shapes of a graph's outputs, check the labels, report unsupported outputs.

If the graph has dynamic shapes, they are read from the first arrays. Not here: the formats of families.
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


def shapes_known(outputs: tuple[TensorSpec, ...]) -> bool:
    """Whether there are outputs and all of their shapes are known. A dynamic batch size counts as known."""
    return bool(outputs) and all(None not in output.shape[1:] for output in outputs)


def specs_of(arrays: Arrays) -> tuple[TensorSpec, ...]:
    """The specs of output arrays."""
    return tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in arrays.items())


def shape_of(output: TensorSpec) -> tuple[int, ...]:
    """The shape without the batch dimension, () if the batch size is not 1. output: of known shape."""
    batch, *rest = output.shape or (None,)
    return tuple(n for n in rest if n is not None) if batch in (1, None) else ()


def unsupported_outputs(spec: HeadSpec, outputs: tuple[TensorSpec, ...], expected: str) -> ModelError:
    """The error for outputs that a family cannot decode. expected: a description with shapes."""
    found = ", ".join(f"{output.name} {_text(output.shape)}" for output in outputs)
    width, height = spec.input_size
    return ModelError(
        f"heads.{spec.name}: family '{spec.family}' cannot decode the outputs {found or 'none'} "
        f"of a {width}x{height} input; expected {expected}"
    )


def check_labels(spec: HeadSpec, classes: int) -> None:
    """Raise ModelError unless there is one label for each class, or no labels at all."""
    if spec.labels and len(spec.labels) != classes:
        raise ModelError(
            f"heads.{spec.name}.labels: found {len(spec.labels)} labels, the graph has {classes} classes; "
            f"expected one label for each class, or none"
        )


def float32(array: NDArray[Any]) -> Float32:
    """The array as float32; NPU backends may deliver float16."""
    return array.astype(np.float32, copy=False)


def sigmoid(x: Float32) -> Float32:
    """1 / (1 + e^-x) without overflow. x: any shape."""
    power = np.exp(-np.maximum(x, np.float32(-80)))  # e^80 fits in float32
    power += 1
    return np.asarray(1 / power, np.float32)


def softmax(x: Float32) -> Float32:
    """Softmax over the last axis."""
    power = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(power / power.sum(axis=-1, keepdims=True), np.float32)


def logit(probability: float) -> float:
    """The inverse of `sigmoid`; infinite at 0 and 1."""
    with np.errstate(divide="ignore"):
        return float(np.log(np.float64(probability)) - np.log1p(-np.float64(probability)))


def _text(shape: tuple[int | None, ...]) -> str:
    return "x".join("?" if n is None else str(n) for n in shape)
