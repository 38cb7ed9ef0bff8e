"""What is to be compiled, and what is known once the models are read. Not here: any work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge_app.compiler.assemble import Assembly
from edge_app.compiler.origin import Given, Original
from edge_app.compiler.pictures import Pictures
from edge_app.model.schema import Input

CALIBRATION, HELD_OUT, GOLDEN = 40, 16, 3
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compile. targets: `onnx`, and NPUs by SoC. cuts: strides to cut the backbone into segments at.

    calibrate: clips and folders; with any, int8 is made too. converter: the environment of the RKNN converter. shapes:
    width and height of the parts of a picture that NPUs are to compute.
    """

    models: tuple[Path, ...]
    out: Path
    given: Given
    targets: tuple[str, ...] = ("onnx",)
    calibrate: tuple[Path, ...] = ()
    cuts: tuple[int, ...] = ()
    converter: Path | None = None
    shapes: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Work:
    """The models, read and taken apart. spec: the manifest's input. seen: pictures in the size of `spec`."""

    plan: Plan
    originals: tuple[Original, ...]
    assembly: Assembly
    spec: Input
    seen: Pictures

    @property
    def judged(self) -> tuple[int, ...]:
        """Rows of the pictures that results are compared on."""
        return self.seen.held_out[:HELD_OUT]

    def segment(self, index: int) -> str:
        """The name of a part of the backbone."""
        return "backbone" if len(self.assembly.segments) == 1 else f"backbone{index}"
