"""Model families, one file each: from a graph's output tensors to typed results. This is the contract.

A head is `Head(spec, *, options…)`: the manifest's HeadSpec, and the family's options, which config.yaml and model.yaml
both may give. Where `spec.outputs` is filled it is checked there; an empty one means that only options are checked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from edge_app.boxes import Transform
from edge_app.frame import Result


class Head(Protocol):
    """Decodes one model family. Stateless: the same outputs give the same result."""

    def decode(self, outputs: Mapping[str, NDArray[Any]], transform: Transform) -> Result:
        """Decode a batch of one. outputs: by tensor name, valid only during the call, never written to.

        transform: how the frame was laid into the input; results are in image pixels.
        """
        ...
