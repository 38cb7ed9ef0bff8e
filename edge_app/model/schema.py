"""The blocks of model.yaml: what may stand in each, with its limits and defaults.

Not here: reading the file (manifest.py), whether its parts agree (checks.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from edge_app.geometry.boxes import Resize
from edge_app.options import Positive, Range


@dataclass(frozen=True, slots=True)
class Input:
    """What the first graph takes.

    `float32`: the host gives (pixel - mean) / std. `uint8`: the host gives pixels, and the graph (or the NPU, set up
    at conversion) applies mean and std itself. pad: the grey level around a letterboxed picture.
    """

    width: Positive
    height: Positive
    color: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    resize: Resize = "letterbox"
    pad: Annotated[int, Range(0, 255)] = 114

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The tensor's shape, one picture."""
        if self.layout == "nchw":
            return (1, 3, self.height, self.width)
        return (1, self.height, self.width, 3)


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """Where the cells of a backbone's map lie in the image, from the compiler: what reuse needs to recompute a crop.

    Cell i depends on pixels i * stride + low to i * stride + high of the input, in x and y alike.
    """

    stride: Positive
    low: int
    high: int
    channels: Positive


@dataclass(frozen=True, slots=True)
class Backbone:
    """The shared part. features: what the heads take, by tensor name.

    graphs: in order; each takes the image or maps of those before it. Where a target has no file for a later one, its
    graphs before that do the work: engines that cannot run a part of a picture need no more than one graph. extents: by
    tensor name, of every map that a graph gives; one that depends on the whole picture has none.
    """

    graphs: tuple[dict[str, str], ...]
    features: tuple[str, ...]
    extents: dict[str, ReceptiveField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shape:
    """A graph for one size: of the picture, or of the part of it that the graph's maps cover, pixels of the input."""

    width: Positive
    height: Positive
    file: str


@dataclass(frozen=True, slots=True)
class Shaped:
    """What an engine without free shapes computes parts of a picture with: for each step, the whole picture first.

    All shapes of one step have the scales of one quantised graph. backbone: its segments in order. heads: by name,
    those that can be run on a part of their inputs.
    """

    backbone: tuple[tuple[Shape, ...], ...]
    heads: dict[str, tuple[Shape, ...]] = field(default_factory=dict)

    def files(self) -> list[str]:
        """Every file, a step's own together."""
        return [shape.file for shapes in (*self.backbone, *self.heads.values()) for shape in shapes]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of NPU memory that one converted file takes, as the converter says: weights and internal buffers."""

    weights: Annotated[int, Range(0)]
    internal: Annotated[int, Range(0)]


@dataclass(frozen=True, slots=True)
class CropInput:
    """What a second-stage head takes: crops of another head's detections, one at a time.

    of: that head. margin: how much wider than its box a crop is, in shares of the box, on each side. limit: how many
    a frame, the surest first.
    """

    of: str
    input: Input
    margin: Annotated[float, Range(0, 2)] = 0.1
    limit: Positive = 8


@dataclass(frozen=True, slots=True)
class OutputCells:
    """Where the cells of a head's output lie, a map's or the rows of one; from the compiler, as `Extent`.

    reach: by input, the first pixels of the cells that a cell needs, at least and at most, relative to its own.
    """

    stride: Positive
    reach: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class HeadManifest:
    """One head as the file gives it. graph None: the head decodes its `inputs` as they are.

    cells: by output, where the head can be run on a part of its inputs; {} where it cannot.
    """

    family: str
    graph: dict[str, str] | None = None
    inputs: tuple[str, ...] = ()
    labels: tuple[str, ...] | str = ()
    options: dict[str, str] = field(default_factory=dict)  # read again by the family's own schema
    crops: CropInput | None = None
    cells: dict[str, OutputCells] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class File:
    """model.yaml as written."""

    format: int
    name: str
    input: Input
    heads: dict[str, HeadManifest]
    backbone: Backbone | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    fused: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    shapes: dict[str, Shaped] = field(default_factory=dict)
