"""The plan of a compilation, and its state once the models are read. Not here: the passes (build.py)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edge_app.compiler.assemble import Assembly
from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.input_models import InputModel, ModelOptions
from edge_app.model.schema import Input

CALIBRATION, HELD_OUT, GOLDEN = 40, 16, 3
Progress = Callable[[str], None]
NpuPrecision = Literal["int8", "int16", "float16"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The input and the settings of a compilation.

    targets: `onnx`, `ncnn`, and NPUs by SoC. cuts: strides at which to cut the backbone into segments. calibrate: clips
    and folders; if there are any, INT8 graphs are also written. converter, pnnx: the environments of the RKNN converter
    and of pnnx. shapes: (width, height) of the parts of an image that an NPU can compute separately. force: replace a
    model folder that the compiler did not write, and keep a backup. ranges: a file of ranges (given_ranges.py).
    """

    models: tuple[Path, ...]
    out: Path
    options: ModelOptions
    targets: tuple[str, ...] = ("onnx",)
    calibrate: tuple[Path, ...] = ()
    cuts: tuple[int, ...] = ()
    converter: Path | None = None
    shapes: tuple[tuple[int, int], ...] = ()
    force: bool = False
    pnnx: Path | None = None
    npu_precision: NpuPrecision = "int8"
    ranges: Path | None = None


@dataclass(frozen=True, slots=True)
class Compilation:
    """The models after reading and splitting. spec: the manifest's input. images: in the size of `spec`."""

    plan: Plan
    models: tuple[InputModel, ...]
    assembly: Assembly
    spec: Input
    images: CalibrationImages

    @property
    def held_out_rows(self) -> tuple[int, ...]:
        """Rows of the images that results are compared on; they are not used for calibration."""
        return self.images.held_out[:HELD_OUT]

    def segment(self, index: int) -> str:
        """The name of a segment of the backbone."""
        return "backbone" if len(self.assembly.segments) == 1 else f"backbone{index}"

    def head_segment(self, head: str, index: int) -> str:
        """The name of a segment of a head that is cut."""
        return f"{head}.{index}"
