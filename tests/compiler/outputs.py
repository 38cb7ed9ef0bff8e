"""Graphs whose outputs have given shapes and values, to test what they are taken for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx

from tests.compiler.graphs import Graph


def cells(size: int, *strides: int) -> int:
    return sum((size // stride) ** 2 for stride in strides)


def random(*shape: int, low: float = 0.0, high: float = 1.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(low, high, shape).astype(np.float32)


def save(
    path: Path,
    outputs: dict[str, np.ndarray],
    *,
    size: tuple[int, int] = (64, 64),
    last: str = "",
    metadata: dict[str, str] | None = None,
) -> Path:
    """Write a graph with these outputs, whatever the image shows. size: width, height.

    last: an operation at the end of each.
    """
    g = Graph(opset=17)
    mean = g.node("ReduceMean", "image", keepdims=0)
    zero = g.node("Round", g.node("Mul", mean, g.weight(np.array(1e-6, np.float32))))
    tensors = {name: g.node("Add", g.weight(values.astype(np.float32)), zero) for name, values in outputs.items()}
    if last:
        tensors = {name: g.node(last, tensor) for name, tensor in tensors.items()}
    model = g.model(tensors, shape=(1, 3, size[1], size[0]))
    for key, value in (metadata or {}).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    onnx.save(model, path)
    return path
