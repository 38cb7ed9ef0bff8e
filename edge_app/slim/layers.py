"""Read the layers of a graph as the NPUs run them, and its groups of channels that can only change together.

Not here: their cycles (model/cycles.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path

from edge_app.compiler import assemble, canonical, frontend, input_models, onnx_file
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.net import Net, Node, Value
from edge_app.errors import ModelError, foreign_text
from edge_app.model import cycles
from edge_app.model.cycles import Layer, Shape
from edge_app.slim.channels import ChannelGroup, channel_groups

_LINEAR = ("Gemm", "MatMul")


@dataclass(frozen=True, slots=True)
class Network:
    """A graph's layers in order, and its groups of channels. name: of the model."""

    name: str
    layers: tuple[Layer, ...]
    groups: tuple[ChannelGroup, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)


def read(model: Path, size: tuple[int, int] | None = None) -> Network:
    """Read an ONNX file, or the graphs of a model folder as one. size: width and height of an input of free size.

    Raises ModelError if it cannot be read, or has no input size and none is given.
    """
    if model.is_dir():
        net = assemble.assemble(input_models.read([model], ModelOptions(input_size=size)), size, ()).whole
        return of_net(net, model.name)
    raw = onnx_file.load(model).net
    raw = _sized(raw, size, model)
    if len(raw.inputs) == 1:
        raw = frontend.with_planes(frontend.without_pixels(raw))
    return of_net(canonical.canonicalize(raw), model.stem)


def of_net(net: Net, name: str) -> Network:
    """The layers of a graph in canonical form. Raises ModelError if a shape cannot be inferred."""
    shapes = _known_shapes(net)
    images = {value.name for value in net.inputs}
    addends = _fused_additions(net, shapes)
    layers: list[Layer] = []
    by_node: dict[int, list[int]] = {}
    for node in net.nodes:
        first = len(layers)
        layers += _layers(node, net, shapes, image=node.inputs[0] in images, addend=id(node) in addends)
        by_node[id(node)] = list(range(first, len(layers)))
    return Network(name, tuple(layers), channel_groups(net, shapes, layers, by_node))


def _sized(raw: Net, size: tuple[int, int] | None, path: Path) -> Net:
    """The graph with fixed input sizes: of free ones the batch is 1, and an image has the given size."""
    inputs = []
    for value in raw.inputs:
        shape = [1 if i == 0 and n is None else n for i, n in enumerate(value.shape)]
        if None in shape:
            if size is None or len(shape) != 4:
                raise ModelError(f"{path}: input '{foreign_text(value.name)}' has a free size; expected --input WxH")
            planes = shape[1] in (3, None) and shape[3] != 3
            wanted = (1, 3, size[1], size[0]) if planes else (1, size[1], size[0], 3)
            shape = [n or w for n, w in zip(shape, wanted)]
        inputs.append(Value(value.name, value.dtype, tuple(shape)))
    return replace(raw, inputs=inputs, declared={})


def _known_shapes(net: Net) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor that a node takes or returns, weights included."""
    shapes = {
        name: tuple(n for n in shape if n is not None) for name, shape in net.shapes().items() if None not in shape
    }
    shapes |= {name: tuple(array.shape) for name, array in net.weights.items()}
    for node in net.nodes:
        for name in (*filter(None, node.inputs), *node.outputs[:1]):
            if name not in shapes:
                raise ModelError(f"{net.name}: the shape of '{foreign_text(name)}' cannot be inferred; expected one")
    return shapes


def _layers(node: Node, net: Net, shapes: dict[str, tuple[int, ...]], *, image: bool, addend: bool) -> Iterator[Layer]:
    name, source, result = node.outputs[0], shapes[node.inputs[0]], shapes[node.outputs[0]]
    if node.op in ("Conv", "ConvTranspose"):
        inputs, outputs = _planes(source), _planes(result)
        groups = int(node.attrs.get("group", 1))
        depthwise = groups == inputs[0] == outputs[0] and groups > 1
        kernel = (1, 1, *shapes[node.inputs[1]][2:])[-2:]
        yield Layer(
            name, node.op, "depthwise" if depthwise else "conv", inputs, outputs, (kernel[0], kernel[1]), groups,
            addend, image,
        )  # fmt: skip
    elif node.op in _LINEAR and node.inputs[1] in net.weights and len(source) > 1:
        rows = prod(result) // result[-1]
        yield Layer(name, node.op, "conv", (prod(source) // rows, rows, 1), (result[-1], rows, 1))
    elif _is_global_average(node, source):
        yield from cycles.global_average(name, node.op, _planes(source))
    else:
        yield Layer(name, node.op, "free", _planes(source), _planes(result))


def _is_global_average(node: Node, source: Sequence[int]) -> bool:
    if node.op == "GlobalAveragePool":
        return len(source) == 4
    axes = sorted(axis % len(source) for axis in node.attrs.get("axes", ())) if source else []
    return node.op == "ReduceMean" and len(source) == 4 and axes == [2, 3]


def _planes(shape: Sequence[int]) -> Shape:
    """A tensor's shape as channels, height and width."""
    channels, height, *width = (*shape[1:], 1, 1)[: max(3, len(shape) - 1)]
    return channels, height, prod(width)


def _fused_additions(net: Net, shapes: dict[str, tuple[int, ...]]) -> set[int]:
    """The convolutions that the converter joins with the addition that follows: the last one before each."""
    producers, consumers = net.producers(), net.consumers()
    found = set()
    for node in net.nodes:
        if node.op != "Add" or shapes[node.inputs[0]] != shapes[node.inputs[1]]:
            continue
        before = [producers[name] for name in node.inputs if name in producers]
        joined = [p for p in before if p.op == "Conv" and len(consumers[p.outputs[0]]) == 1]
        if joined:
            found.add(id(joined[0]))
    return found
