"""Model families, one file each: they decode a graph's output tensors to typed results. This module is the contract.

A head without a network reads the image itself, such as QR codes: its class has the attributes `image` and `labels`
(`image_input`). config.yaml names it with its family, and model.yaml does not know it.

A head is a class `Head(spec, *, options…)`. Its keyword arguments are the options of the family, which model.yaml and
config.yaml may set. The constructor checks `spec.outputs`; if that is empty, it checks only the options.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.frame import Result
from edge_app.geometry.boxes import Transform


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """The model's properties that a Head is constructed from.

    name, family: as in the manifest. input_size: width and height of the head's input, pixels.
    outputs: the tensors that `decode` will get; empty while a configuration is checked without a graph.
    """

    name: str
    family: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    outputs: tuple[TensorSpec, ...] = ()


class Head(Protocol):
    """Decodes one model family. Stateless: the same outputs give the same result.

    result_type: what `decode` returns.
    """

    result_type: ClassVar[type[Result]]

    def decode(self, outputs: Mapping[str, NDArray[Any]], transform: Transform) -> Result:
        """Decode a batch of one. outputs: by tensor name, read-only, valid only during the call.

        transform: how the frame was fitted into the input. Results are in image pixels. Scores are not clipped:
        inference reports those that are outside 0..1, and clips what is outside by rounding.
        """
        ...


def image_input(family: type[Any]) -> Literal["gray", "bgr"] | None:
    """What a head without a network takes; None for a head that decodes a network's outputs. family: its class.

    `decode` gets one output, `image`: (1, H, W) uint8 of `gray`, (1, H, W, 3) of `bgr`, the whole frame; the transform
    changes nothing. The class attribute `labels` has its classes.
    """
    image: Literal["gray", "bgr"] | None = getattr(family, "image", None)
    return image
