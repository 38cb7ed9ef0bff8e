"""Measure a network: figures in float and int8, cycles, bytes, and time in turns with the base. Needs torch.

int8 is the compiler's: its graphs, with ranges of training images or learned ones, in onnxruntime.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from edge_app.compiler import quantize, ranges
from edge_app.compiler.net import Net
from edge_app.compiler.ranges import TensorRange
from edge_app.compiler.session import HostSession, times_ms
from edge_app.errors import ModelError
from edge_app.frame import UInt8
from edge_app.model import cycles
from edge_app.model.cycles import Layer
from edge_app.slim import layers
from edge_app.slim.graph import model_folder
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.objectives import Figure
from edge_app.slim.steps import Work
from edge_app.slim.steps.qat import with_moved

_CALIBRATION = 32  # images of the training part
_ROUNDS = 15  # of timing
_CHANNELS = 16  # maps are stored in blocks of so many


@dataclass(slots=True)
class Row:
    """What was measured of one network. figures, int8: by head, on what was held out; repeated: by seed.

    bytes: of the float and int8 file, and of the float file compressed. npu_bytes: estimated: int8 weights, and the
    largest input and output of one layer. ms: medians in turns with the base. cycles: by target.
    """

    name: str
    steps: int
    seconds: float
    figures: dict[str, Figure]
    int8: dict[str, Figure]
    macs: int
    parameters: int
    bytes: dict[str, int]
    npu_bytes: int
    ms: dict[str, float]
    cycles: dict[str, int]
    repeated: list[dict[str, float]] = field(default_factory=list)
    controls: list[dict[str, Any]] = field(default_factory=list)
    verdict: str = ""
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def figures(network: GraphNetwork, work: Work) -> dict[str, Figure]:
    """The figures of a network in float."""
    network.eval()

    @torch.no_grad()
    def run(images: UInt8) -> Mapping[str, NDArray[np.float32]]:
        return {name: value.numpy() for name, value in network(work.model.planes(images)).items()}

    return work.task.evaluate(run)


def int8_graph(network: GraphNetwork, work: Work) -> bytes:
    """The compiler's int8 graph: with the network's learned ranges, or those of training images."""
    pixels = work.model.on_pixels(network.to_net(fold=True))
    images = np.ascontiguousarray(work.task.images(_CALIBRATION)[..., ::-1])
    found = ranges.from_histograms(ranges.measure(pixels, list(images)), "minmax")
    learned = with_moved(network.net, network.learned_ranges())
    found |= {name: TensorRange(*limits) for name, limits in learned.items() if name in found}
    return quantize.serialized(quantize.quantized(pixels, found))


def int8_figures(graph: bytes, work: Work) -> dict[str, Figure]:
    """The figures of an int8 graph in onnxruntime."""
    session = HostSession(graph)

    def run(images: UInt8) -> Mapping[str, NDArray[np.float32]]:
        rows = [session.run(np.ascontiguousarray(image[None, ..., ::-1])) for image in images]
        return {name: np.concatenate([row[i] for row in rows]) for i, name in enumerate(session.outputs)}

    return work.task.evaluate(run)


def measure(name: str, network: GraphNetwork, base: Net, work: Work) -> Row:
    """A row for a network. base: the folded graph that the recipe started from."""
    folded = network.to_net(fold=True)
    found = layers.of_net(folded, name).layers
    data = model_folder.save_net(folded)
    sizes = {"float": len(data), "compressed": len(zlib.compress(data, 6))}
    sessions = {"base": HostSession(model_folder.save_net(base)), "float": HostSession(data)}
    notes, int8, graph = [], {}, b""
    try:
        graph = int8_graph(network, work)
        int8 = int8_figures(graph, work)
        sizes["int8"], sessions["int8"] = len(graph), HostSession(graph)
    except ModelError as exc:
        notes.append(f"int8: {exc}")
    planes = network.example().numpy()
    pixels = np.zeros((1, *planes.shape[2:], 3), np.uint8)
    calls = {n: _call(s, pixels if n == "int8" else planes) for n, s in sessions.items()}
    return Row(
        name, 0, 0.0, figures(_plain(network), work), int8, sum(layer.macs for layer in found),
        sum(layer.parameters for layer in found), sizes, npu_bytes(found), times_ms(calls, _ROUNDS),
        {target: cycles.total(found, target) for target in cycles.NPUS}, notes=notes,
    )  # fmt: skip


def _call(session: HostSession, image: NDArray[Any]) -> Any:
    return lambda: session.run(image)


def _plain(network: GraphNetwork) -> GraphNetwork:
    """Without rounding."""
    return GraphNetwork(network.to_net(fold=False)) if network.int8_weights else network


def npu_bytes(found: tuple[Layer, ...]) -> int:
    """int8 weights, and the greatest input and output of one layer: an estimate of what an NPU needs."""
    weights = sum(layer.parameters for layer in found)
    maps = max((_stored(layer.inputs) + _stored(layer.outputs) for layer in found), default=0)
    return weights + maps


def _stored(shape: tuple[int, int, int]) -> int:
    return -(-shape[0] // _CHANNELS) * _CHANNELS * prod(shape[1:])
