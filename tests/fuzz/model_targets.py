"""Targets that read models of other programs: the compiler's input, and graphs of other engines."""

from __future__ import annotations

from edge_app.backends import _ncnn_param
from edge_app.compiler import metadata, onnx_file
from edge_app.errors import ModelError
from edge_app.options.scalars import checked_text
from tests.fuzz.registry import folder, target, write

_LAYERS = {"Input", "Convolution", "ReLU", "Split", "Pooling", "Softmax"}


@target(ModelError)
def onnx_graph(data: bytes) -> None:
    """Its weights may be in `weights`, a file of 4,096 bytes beside it."""
    write("onnx", bytes(4096), "weights")
    onnx_file.load(folder("onnx") / "model.onnx", data)


@target()
def onnx_metadata(data: bytes) -> None:
    """Lines `name=value`. What cannot be read is left out."""
    lines = data.decode("utf-8", "replace").split("\n")
    found = metadata.parse(dict(line.partition("=")[::2] for line in lines))
    assert all(checked_text(label) for label in found.labels), "as in model.yaml"
    assert found.image_size is None or min(found.image_size) > 0


@target(ValueError)
def ncnn_param(data: bytes) -> None:
    _ncnn_param.parse(data, _LAYERS.__contains__)
