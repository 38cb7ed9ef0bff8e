"""The position of boxes and scores in the outputs of a YOLO export.

Not here: recognizing it (_yolo_formats.py, _yolo_tasks.py), decoding (_yolo_boxes.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from numpy.typing import NDArray

from edge_app.heads._grids import Grid
from edge_app.heads._outputs import Arrays

Reading = Literal["v5", "v8", "v10", "x", "fastestv2"]
Box = Literal["pixels", "corners", "anchor", "offset", "edges"]

UNKNOWN = 0  # number of classes if the format does not contain it


@dataclass(frozen=True, slots=True)
class OutputSlice:
    """A slice of an output with the values of one grid or of all grids.

    shape: the shape to which the output is reshaped, without the batch. channels_first: in that shape.
    index: of the anchor, the first axis of that shape.
    """

    output: str
    shape: tuple[int, ...]
    channels: slice
    channels_first: bool
    index: int | None = None

    def view(self, outputs: Arrays) -> NDArray[Any]:
        """A view of the values: (cells, channels)."""
        values: NDArray[Any] = outputs[self.output].reshape(self.shape)
        if self.index is not None:
            values = values[self.index]
        cells = values.reshape(len(values), -1).T if self.channels_first else values.reshape(-1, self.shape[-1])
        return cells[:, self.channels]


Slices = tuple[OutputSlice, ...]


@dataclass(frozen=True, slots=True)
class Format:
    """An export format: where the boxes and scores are and how the boxes are encoded.

    boxes, scores, objectness: slices in the same order of cells; the objectness has one channel, if the format has it.
    grids: of the slices, in order; empty if decoding needs no grid. anchors: of the slices, which of the anchors of
    their grid. logits: whether the final sigmoid may be missing; softmax: the class scores then need a softmax instead.
    nms_free: the detections need no NMS, and a cell may have several classes. extras: slices with the `extra`
    values that a box has beside its scores: keypoints, an angle or mask coefficients (_yolo_tasks.py).
    """

    reading: Reading
    box: Box
    classes: int
    boxes: Slices
    scores: Slices
    objectness: Slices = ()
    grids: tuple[Grid, ...] = ()
    anchors: tuple[int, ...] = ()
    logits: bool = False
    softmax: bool = False
    nms_free: bool = False
    extras: Slices = ()
    extra: int = 0

    @property
    def raw_extras(self) -> bool:
        """Whether the further values are those of the network, for each grid; else the file has decoded them."""
        return self.box not in ("pixels", "corners") and len(self.extras) == len(self.boxes)

    @property
    def selected(self) -> bool:
        """Whether the file has selected the detections: the scores are then two columns, score and class number."""
        return self.classes == UNKNOWN


def columns(
    name: str, shape: tuple[int, ...], *ranges: tuple[int, int | None], first: bool = False, index: int | None = None
) -> Slices:
    """Slices of one output, a range of channels each. first: the channels are the first axis."""
    return tuple(OutputSlice(name, shape, slice(*pair), first, index) for pair in ranges)
