"""The blocks of model.yaml: their keys, limits and defaults.

Not here: reading the file (manifest.py), cross-checks between blocks (checks.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from edge_app.geometry.boxes import Resize
from edge_app.options import Positive, Range

Side = Annotated[int, Range(1, 8192)]


@dataclass(frozen=True, slots=True)
class Input:
    """The input of the first graph.

    dtype: `float32` means that the host passes (pixel - mean) / std; `uint8` that it passes pixels, and the graph (or
    the NPU, as configured at conversion) applies mean and std. pad: the gray level around a letterboxed image.
    crop_fraction: of the short side of the image, the part that `resize: crop` takes.
    """

    width: Side
    height: Side
    color: Literal["rgb", "bgr"] = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    dtype: Literal["float32", "uint8"] = "float32"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (255.0, 255.0, 255.0)
    resize: Resize = "letterbox"
    pad: Annotated[int, Range(0, 255)] = 114
    crop_fraction: Annotated[float, Range(0.1, 1)] = 1.0

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """The shape of the input tensor, batch of one."""
        if self.layout == "nchw":
            return (1, 3, self.height, self.width)
        return (1, self.height, self.width, 3)


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The receptive field of the cells of a feature map. Written by the compiler; reuse needs it to recompute a part.

    Cell i depends on the input pixels i * stride + low to i * stride + high, in x and in y.
    """

    stride: Positive
    low: int
    high: int
    channels: Positive


@dataclass(frozen=True, slots=True)
class Backbone:
    """The part that the heads share. features: names of the tensors that heads may take.

    graphs: the segments in order, files by target; each takes the image or feature maps of earlier segments. A target
    may have no file for later segments if its earlier files contain them: an engine that cannot compute a part of a
    image needs only one graph. extents: receptive fields by tensor name, of every map that a graph returns; a map
    that depends on the whole image has none.
    """

    graphs: tuple[dict[str, str], ...]
    features: tuple[str, ...]
    extents: dict[str, ReceptiveField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FixedShape:
    """A graph for one size of the image, or of the part of it that the graph's maps cover. In input pixels."""

    width: Positive
    height: Positive
    file: str


@dataclass(frozen=True, slots=True)
class FixedShapes:
    """Graphs of fixed sizes, with which an engine without dynamic shapes computes parts of an image.

    backbone: the shapes of each segment, in order. heads: by name, only heads that can run on a part of their inputs.
    The whole image is always the first shape. All shapes of one segment or head share the scales of one quantized
    graph.
    """

    backbone: tuple[tuple[FixedShape, ...], ...]
    heads: dict[str, tuple[FixedShape, ...]] = field(default_factory=dict)

    def files(self) -> list[str]:
        """Every file, grouped by segment and head."""
        return [shape.file for shapes in (*self.backbone, *self.heads.values()) for shape in shapes]


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of NPU memory that one converted file needs according to the converter: weights and internal buffers."""

    weights: Annotated[int, Range(0)]
    internal: Annotated[int, Range(0)]


@dataclass(frozen=True, slots=True)
class CropInput:
    """The input of a second-stage head: crops of another head's detections.

    of: the name of that head. margin: added to each side of a box, as a fraction of the box size. limit: crops per
    frame, highest score first. align: `face5` moves and turns a face so that its landmarks lie on ArcFace's template,
    without margin; `quad` rectifies an oriented box.
    """

    of: str
    input: Input
    margin: Annotated[float, Range(0, 2)] = 0.1
    limit: Positive = 8
    align: Literal["box", "face5", "quad"] = "box"


@dataclass(frozen=True, slots=True)
class OutputCells:
    """The geometry of a head's output cells, in a map or in the rows of a table. Written by the compiler.

    stride: input pixels per cell. reach: by input name, the range of input cells that an output cell needs: lowest and
    highest first pixel, relative to its own first pixel.
    """

    stride: Positive
    reach: dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class HeadSegment:
    """A part of a head, so that reuse computes only those parts whose inputs changed. Written by the compiler.

    graph: by target. It takes features, and maps that earlier segments of the head return. cells: as for HeadManifest.
    """

    graph: dict[str, str]
    cells: dict[str, OutputCells] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HeadManifest:
    """One head as written in the file. graph None: the head decodes its `inputs` directly.

    cells: by output, if the head can run on a part of its inputs; otherwise {}. segments: the same head cut into parts,
    in order; () if it is not. Each output of the head is an output of one of them.
    """

    family: str
    graph: dict[str, str] | None = None
    inputs: tuple[str, ...] = ()
    labels: tuple[str, ...] | str = ()
    options: dict[str, str] = field(default_factory=dict)  # checked later by the schema of the family
    crops: CropInput | None = None
    cells: dict[str, OutputCells] = field(default_factory=dict)
    segments: tuple[HeadSegment, ...] = ()


@dataclass(frozen=True, slots=True)
class File:
    """model.yaml as written. precision: of the NPU files, by target; int8 where a target is not listed."""

    format: int
    name: str
    input: Input
    heads: dict[str, HeadManifest]
    backbone: Backbone | None = None
    sha256: dict[str, str] = field(default_factory=dict)
    fused: dict[str, str] = field(default_factory=dict)
    memory: dict[str, Memory] = field(default_factory=dict)
    shapes: dict[str, FixedShapes] = field(default_factory=dict)
    precision: dict[str, Literal["int8", "int16", "float16"]] = field(default_factory=dict)
