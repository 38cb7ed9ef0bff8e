"""onnxruntime in the place of an NPU: its target is one's, and graphs that it is given may have one shape each."""

from __future__ import annotations

from edge_app.backends import onnx

TARGET = "rv1106"


class Backend(onnx.Backend):
    preference = -1

    def __init__(self, *, threads: int = 1, precision: str = "float") -> None:
        super().__init__(threads=threads)
        self.target = TARGET
