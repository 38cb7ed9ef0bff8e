"""Static INT8: per-channel QDQ graphs, from ranges measured once for the whole model.

A tensor that leaves one graph and enters another has the same scale in both, so nothing is lost between them.
uint8 activations and int8 weights: what onnxruntime's x86 and ARM kernels are fastest at. Not here: measuring ranges
(ranges.py), NPUs (rknn.py).
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from onnx import shape_inference

from edge_app.compiler import ranges
from edge_app.compiler.net import Net, from_model
from edge_app.compiler.ranges import Histogram, Ranges
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.evaluation import cosine
from edge_app.frame import UInt8

_LEARNED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_FUSED = ("Relu", "Clip", "LeakyRelu")  # after a convolution they cost nothing and halve its range
_DEQUANTIZED = "_DequantizeLinear_Output"


@dataclass(frozen=True, slots=True)
class Choice:
    """The calibration method with the best agreement with float on held-out images."""

    method: str
    ranges: Ranges
    scores: dict[str, float]  # by method


def quantized(net: Net, tensor_ranges: Ranges) -> Net:
    """The graph with QuantizeLinear / DequantizeLinear around the operations that run in int8."""
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.registry import QDQRegistry

    values = net.values()
    net = _corrected(net, tensor_ranges)
    model = shape_inference.infer_shapes(net.to_model())
    names = {f"{n.op}_{n.outputs[0]}" for n in net.nodes}  # as Net.to_model names nodes
    data = {name: (np.float32(r.low), np.float32(r.high)) for name, r in _complete(net, tensor_ranges).items()}
    options = {"ActivationSymmetric": False, "WeightSymmetric": True, "QuantizeBias": True}
    with _quiet():
        try:
            quantizer = QDQQuantizer(
                model, True, False, QuantType.QInt8, QuantType.QUInt8, TensorsData(CalibrationMethod.MinMax, data),
                sorted(names), sorted(_float_tail(net)), list(QDQRegistry), options,
            )  # fmt: skip
            result = quantizer.quantize_model()
        except Exception as exc:  # the quantizer raises KeyError, ValueError and others
            raise ModelError(f"{net.name}: cannot be quantized: {exc!r}") from exc
    int8 = from_model(result, net.name)
    int8.declared = values
    return int8


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence onnxruntime's quantizer: its root logger, and numpy's warnings about constant tensors."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        root.setLevel(level)


def choose(
    net: Net,
    histograms: dict[str, Histogram],
    compare: Callable[[bytes], float],
    closeness: Callable[[Net], float],
    progress: Callable[[str], None],
) -> Choice:
    """Quantize by every method and choose the one with the highest score; among equal ones, the closest to float.

    compare: scores a serialized graph. closeness: of a quantized graph, used if methods have the same score.
    """
    scores: dict[str, float] = {}
    found: dict[str, Ranges] = {}
    for method in ranges.METHODS:
        progress(f"int8: {method}")
        found[method] = ranges.from_histograms(histograms, method)
        scores[method] = compare(serialized(quantized(net, found[method])))
    best = [method for method in ranges.METHODS if scores[method] == max(scores.values())]
    if len(best) > 1:
        progress("int8: the closest of equal methods")
        best.sort(key=lambda method: -closeness(quantized(net, found[method])))
    return Choice(best[0], found[best[0]], scores)


def serialized(net: Net) -> bytes:
    """ONNX bytes of a quantized graph. Its outputs have the types of the float graph."""
    data: bytes = net.to_model().SerializeToString()
    return data


def float_convolutions(net: Net) -> list[str]:
    """Outputs of the convolutions that run in float: an input or the weights do not come from DequantizeLinear."""
    producers = net.producers()

    def is_int8(name: str) -> bool:
        return name in producers and producers[name].op == "DequantizeLinear"

    return [n.outputs[0] for n in net.nodes if n.op in _LEARNED and not all(is_int8(name) for name in n.inputs[:2])]


def cosines(net: Net, int8: Net, pixels: Sequence[UInt8], names: Sequence[str] | None = None) -> dict[str, float]:
    """The lowest cosine of each tensor between float and INT8 over the images, worst first. names: None means all."""
    values = net.values()
    pairs = {}
    available = {output for node in int8.nodes for output in node.outputs}
    for node in net.nodes:
        for name in node.outputs:
            int8_name = next((n for n in (name + _DEQUANTIZED, name) if n in available), None)
            wanted = names is None or name in names
            if wanted and int8_name is not None and name in values and values[name].dtype == "float32":
                pairs[name] = int8_name
    if not pairs:
        return {}
    first, second = net.copy(), int8.copy()
    first.outputs, second.outputs = list(pairs), list(dict.fromkeys(pairs.values()))
    second.declared = {**int8.declared, **{int8_name: values[name] for name, int8_name in pairs.items()}}
    a, b = HostSession(first.serialize(), optimize=False), HostSession(serialized(second), optimize=False)
    lowest = dict.fromkeys(pairs, 1.0)
    for image in pixels:
        reference = dict(zip(first.outputs, a.run(image[None])))
        quantized_outputs = dict(zip(second.outputs, b.run(image[None])))
        for name, int8_name in pairs.items():
            lowest[name] = min(lowest[name], cosine(reference[name], quantized_outputs[int8_name]))
    return dict(sorted(lowest.items(), key=lambda pair: pair[1]))


def _corrected(net: Net, tensor_ranges: Ranges) -> Net:
    """Correct biases for the mean error of rounded weights, from the mean of each input channel in calibration."""
    net = net.copy()
    for node in net.nodes:
        tensor_range = tensor_ranges.get(node.inputs[0]) if node.op == "Conv" and len(node.inputs) == 3 else None
        if (
            tensor_range is None
            or tensor_range.means is None
            or not {node.inputs[1], node.inputs[2]} <= set(net.weights)
        ):
            continue
        weights = net.weights[node.inputs[1]].astype(np.float64)  # (out, in / groups, kh, kw)
        scale = np.maximum(np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / 127, 1e-12)
        error = (np.clip(np.round(weights / scale), -127, 127) * scale - weights).sum(axis=(2, 3))
        groups = node.attrs.get("group", 1)
        of_group = np.repeat(np.arange(groups), len(weights) // groups)
        shift = (error * tensor_range.means.reshape(groups, -1)[of_group]).sum(axis=1)
        name = net.fresh(f"{node.outputs[0]}_bias")
        net.weights[name] = (net.weights[node.inputs[2]] - shift).astype(np.float32)
        node.inputs[2] = name
    return net


def _float_tail(net: Net) -> set[str]:
    """Names of the nodes after the last learned layers: scores and boxes are finished in float."""
    learned: set[str] = set()  # tensors that a learned layer depends on
    tail = set()
    producers = net.producers()
    for node in reversed(net.nodes):
        before_learned = any(output in learned for output in node.outputs)
        if node.op in _LEARNED or before_learned:
            learned.update(node.inputs)
            continue
        source = producers.get(node.inputs[0]) if node.inputs else None
        if node.op in _FUSED and source is not None and source.op in _LEARNED:
            continue
        tail.add(f"{node.op}_{node.outputs[0]}")
    return tail


def _complete(net: Net, tensor_ranges: Ranges) -> Ranges:
    """The ranges of the tensors of this graph."""
    names = {value.name for value in net.inputs} | {output for node in net.nodes for output in node.outputs}
    return {name: tensor_ranges[name] for name in names if name in tensor_ranges}
