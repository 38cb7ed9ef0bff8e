"""Model families, one file each: from a graph's output tensors to typed results. This is the contract.

A head is `Head(spec, *, options…)`: the manifest's HeadSpec, and the family's options, which config.yaml and model.yaml
both may give. Where `spec.outputs` is filled it is checked there; an empty one means that only options are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_app.backends import TensorSpec
from edge_app.frame import Result
from edge_app.geometry.boxes import Transform


@dataclass(frozen=True, slots=True)
class HeadSpec:
    """What a Head is constructed from.

    name, family: as in the manifest. input_size: width and height of the head's input, pixels.
    outputs: the tensors that `decode` will get; empty while only a configuration is checked.
    """

    name: str
    family: str
    labels: tuple[str, ...]
    input_size: tuple[int, int]
    outputs: tuple[TensorSpec, ...] = ()


class Head(Protocol):
    """Decodes one model family. Stateless: the same outputs give the same result."""

    def decode(self, outputs: Mapping[str, NDArray[Any]], transform: Transform) -> Result:
        """Decode a batch of one. outputs: by tensor name, valid only during the call, never written to.

        transform: how the frame was laid into the input; results are in image pixels.
        """
        ...
