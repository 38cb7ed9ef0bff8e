"""Write model files for the fake runtimes: the container of a .rknn file with lines of text (fake_rknnmrt.c)."""

from __future__ import annotations

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_app.backends import Graph

FULL, MINI = 6, 0x1004


@dataclass(frozen=True)
class Image:
    name: str
    height: int
    width: int
    channels: int = 3
    mean: float = 0.0
    std: float = 255.0
    row: int = 0  # row stride in pixels; 0: the width

    def line(self):
        row = self.row or self.width
        return f"image {self.name} {self.height} {self.width} {self.channels} {self.mean} {self.std} {row}"

    @property
    def shape(self):
        return [1, self.channels, self.height, self.width]


@dataclass(frozen=True)
class Feature:
    name: str
    channels: int
    height: int
    width: int
    zero: int = 0
    scale: float = 0.01

    def line(self):
        return f"feature {self.name} {self.channels} {self.height} {self.width} {self.zero} {self.scale}"

    @property
    def shape(self):
        return [1, self.channels, self.height, self.width]


@dataclass(frozen=True)
class Feature16(Feature):
    """In int16; fl: its fraction length."""

    fl: int = 8

    def line(self):
        return f"feature16 {self.name} {self.channels} {self.height} {self.width} {self.fl}"


@dataclass(frozen=True)
class Output:
    name: str
    channels: int
    height: int
    width: int
    zero: int = 0
    scale: float = 0.01
    row: int = 0
    gain: float = 1.0

    def line(self):
        row = self.row or self.width
        values = f"{self.channels} {self.height} {self.width} {self.zero} {self.scale} {row} {self.gain}"
        return f"output {self.name} {values}"

    @property
    def shape(self):
        return [1, self.channels, self.height, self.width]


@dataclass(frozen=True)
class Output16(Output):
    """In int16; fl: its fraction length."""

    fl: int = 8

    def line(self):
        size = f"{self.channels} {self.height} {self.width}"
        return f"output16 {self.name} {size} {self.fl} {self.row or self.width} {self.gain}"


def write(path: Path, inputs, outputs, *extra, platforms=("rv1106",), format_=MINI, version="2.3.2") -> Graph:
    """Write a file with these tensors. extra: more lines, such as `fail run -2`."""
    lines = ["version 2.3.2 0.9.8", *(t.line() for t in (*inputs, *outputs)), *extra]
    body = ("\n".join(lines) + "\n").encode()
    tensors = [*inputs, *outputs]
    sides = [("input", i) for i in range(len(inputs))] + [("output", i) for i in range(len(outputs))]
    info = {
        "version": version,
        "target_platform": list(platforms),
        "norm_tensor": [{"tensor_id": i, "url": t.name, "size": t.shape} for i, t in enumerate(tensors)],
        "graph": [
            {"left": side, "left_tensor_id": n, "right": "norm_tensor", "right_tensor_id": i}
            for i, (side, n) in enumerate(sides)
        ],
    }
    text = json.dumps(info).encode()
    header = struct.pack("<4s4xQQ", b"RKNN", format_, len(body)).ljust(64, b"\0")
    data = header + body + struct.pack("<Q", len(text)) + text
    path.write_bytes(data)
    return Graph(path, hashlib.sha256(data).hexdigest())


def expected(output: Output, reals) -> np.ndarray:
    """The result of the fakes before quantization, element by element. reals: (C, H, W), the values of every input."""
    result = np.zeros((1, output.channels, output.height, output.width), np.float32)
    for c in range(output.channels):
        for y in range(output.height):
            for x in range(output.width):
                for real in reals:
                    depth, height, width = real.shape
                    result[0, c, y, x] += real[c % depth, y * height // output.height, x * width // output.width]
    return result * output.gain
