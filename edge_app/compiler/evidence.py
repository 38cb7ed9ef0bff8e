"""The evidence for a model's family: its metadata, the shapes and values of its outputs, and its last layers.

Not here: the conclusions (families.py, unsupported.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from edge_app.backends import TensorSpec
from edge_app.compiler import calibration_images
from edge_app.compiler.metadata import Metadata
from edge_app.compiler.net import Net, Node
from edge_app.compiler.session import Array, HostSession
from edge_app.model.schema import Input

LAYOUT = ("Transpose", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Cast", "Dropout")
_IMAGES = 2  # synthetic images on which output values are checked


def output_specs(net: Net) -> tuple[TensorSpec, ...]:
    """The outputs of a graph, in its order, with the shapes that can be inferred."""
    values = net.values()
    return tuple(TensorSpec(name, values[name].shape, values[name].dtype) for name in net.outputs)


@dataclass(frozen=True, eq=False)
class Evidence:
    """A graph in canonical form, and its metadata. labels: those given by the user, else those of the metadata."""

    net: Net
    metadata: Metadata
    labels: tuple[str, ...]
    outputs: tuple[TensorSpec, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "outputs", output_specs(self.net))

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the input, pixels."""
        height, width = self.net.inputs[0].shape[2:]
        return width or 0, height or 0

    @cached_property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shape of each output without a batch of one; 0 for a size that is not known."""
        shapes = [tuple(n or 0 for n in output.shape) for output in self.outputs]
        return [shape[1:] if len(shape) > 1 and shape[0] in (0, 1) else shape for shape in shapes]

    @cached_property
    def vectors(self) -> list[int]:
        """The lengths of the outputs that are one vector: (1, C) or (1, C, 1, 1)."""
        return [s[0] for s in self.shapes if s and (len(s) == 1 or (len(s) == 3 and s[1:] == (1, 1)))]

    @cached_property
    def tables(self) -> list[tuple[int, int]]:
        """Rows and columns of the outputs that are a table: (1, N, K)."""
        return [(s[0], s[1]) for s in self.shapes if len(s) == 2]

    @cached_property
    def maps(self) -> list[tuple[int, int, int]]:
        """Channels, height and width of the outputs that are a map: (1, C, H, W)."""
        return [(s[0], s[1], s[2]) for s in self.shapes if len(s) == 3 and s[1:] != (1, 1)]

    @cached_property
    def operations(self) -> set[str]:
        """The types of all nodes."""
        return {node.op for node in self.net.nodes}

    @cached_property
    def producers(self) -> dict[str, Node]:
        """The node that computes each tensor."""
        return self.net.producers()

    @cached_property
    def slices_pixels(self) -> bool:
        """Whether the graph starts by taking every second pixel, four times: YOLOX does."""
        first = [node for node in self.net.nodes if self.net.inputs[0].name in node.inputs]
        return len(first) == 4 and all(node.op == "Slice" for node in first)

    def last(self, name: str | None = None) -> list[Node]:
        """Up to eight last nodes before an output, the last one first, following first inputs; LAYOUT is left out.

        name: of the output, by default the first one.
        """
        nodes: list[Node] = []
        tensor = name or self.net.outputs[0]
        while (node := self.producers.get(tensor)) is not None and len(nodes) < 8:
            nodes += [] if node.op in LAYOUT else [node]
            tensor = node.inputs[0] if node.inputs else ""
        return nodes

    def ends_with(self, *operations: str, name: str | None = None) -> bool:
        """Whether one of these operations computes an output (the first one by default), apart from LAYOUT."""
        nodes = self.last(name)
        return bool(nodes) and nodes[0].op in operations

    def values(self, color: str, mean: tuple[float, ...], std: tuple[float, ...]) -> list[dict[str, Array]]:
        """The outputs for some synthetic images, by name. mean, std: of pixels 0..255. Raises ModelError."""
        width, height = self.size
        spec = Input(width, height, "bgr", "nhwc", "uint8", resize="stretch")
        pixels = calibration_images.synthetic(spec, _IMAGES).pixels.astype(np.float32)
        session = HostSession(self.net.to_model().SerializeToString())
        results = []
        for image in pixels if color == "bgr" else pixels[..., ::-1]:
            planes = ((image - np.array(mean, np.float32)) / np.array(std, np.float32)).transpose(2, 0, 1)[None]
            results.append(dict(zip(session.outputs, session.run(np.ascontiguousarray(planes)))))
        return results
