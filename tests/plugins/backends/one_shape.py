"""onnxruntime in place of an NPU: it loads the graphs of the target rv1106, whose shapes are fixed."""

from __future__ import annotations

from edge_app.backends import onnx

TARGET = "rv1106"


class Backend(onnx.Backend):
    preference = -1

    def __init__(self, *, threads: int = 1, precision: str = "float") -> None:
        super().__init__(threads=threads)
        self.target = TARGET
