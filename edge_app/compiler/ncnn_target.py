"""Convert every graph of a model for ncnn, and prove each against onnxruntime on the same inputs.

Backbone segments, heads and the fused graph are converted. A graph that computes the same as onnxruntime for a part of
the image too is declared with a free size, so that reuse can run it on parts; another one keeps the size of the image.
Not here: the conversion of one graph (pnnx.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edge_app.backends import TensorSpec
from edge_app.backends import _ncnn_param as ncnn_param
from edge_app.compiler import pnnx, pnnx_graph
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.canonical import any_size
from edge_app.compiler.comparison import OutputComparison, Outputs, group_by_head
from edge_app.compiler.frontend import IMAGE
from edge_app.compiler.net import Net, Value
from edge_app.compiler.output_cells import with_free_size
from edge_app.compiler.report import NcnnReport
from edge_app.compiler.session import Array, HostSession
from edge_app.errors import ModelError
from edge_app.inference.golden import TOLERANCE, golden_error
from edge_app.model.schema import Memory

TARGET = "ncnn"
_NOISE = 10.0  # how far ncnn may be from onnxruntime, as a multiple of the noise of rounding: it uses Winograd
_LEAST_AGREEMENT = 0.99  # of decoded results, with float32 in onnxruntime
Tensors = Mapping[str, Array]


@dataclass(frozen=True, slots=True)
class NcnnGraph:
    """The two files of a graph. memory: its weights, and what else one frame took on this machine. error: the largest.

    free: whether it takes any size.
    """

    param: bytes
    weights: bytes
    memory: Memory
    error: float
    free: bool


@dataclass(frozen=True, slots=True)
class NcnnModel:
    """files: by part. outputs: of every held-out row, by head."""

    files: dict[str, NcnnGraph]
    outputs: list[Outputs]

    def report(self, comparison: OutputComparison) -> NcnnReport:
        """Raises ModelError if decoded results differ from those of float32."""
        loaded = [graph for part, graph in self.files.items() if part != "fused"]
        agreement = comparison.agreement(self.outputs)
        for head, value in agreement.items():
            if value < _LEAST_AGREEMENT:
                raise ModelError(
                    f"{head} for ncnn: found an agreement of {value:.3f} with onnxruntime; "
                    f"expected at least {_LEAST_AGREEMENT}"
                )
        return NcnnReport(
            agreement,
            max(graph.error for graph in self.files.values()),
            sum(graph.memory.weights for graph in loaded),
            sum(graph.memory.internal for graph in loaded),
            [part for part, graph in self.files.items() if graph.free],
            [part for part, graph in self.files.items() if not graph.free],
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """One graph to convert. feeds, expected: of every row. free: for any size, None if it has a fixed one.

    crop: the inputs and outputs of `free` for a part of an image; None if there is no such part.
    """

    name: str
    net: Net
    feeds: list[Tensors]
    expected: list[Tensors]
    free: Net | None = None
    crop: tuple[Tensors, Tensors] | None = None


@dataclass(frozen=True, slots=True)
class Conversion:
    """Converts one model. segments: the names of the backbone's segments. folder: for temporary files."""

    program: Path
    folder: Path
    progress: Callable[[str], None]
    assembly: Assembly
    segments: Sequence[str]

    def run(self, pixels: Array, rows: Sequence[int]) -> NcnnModel:
        """Convert all parts. pixels: images (N, H, W, 3); rows: to compare. Raises ModelError if a proof fails."""
        files: dict[str, NcnnGraph] = {}
        outputs: list[Outputs] = []
        for part in self._parts(pixels, rows):
            self.progress(f"ncnn: {part.name}")
            files[part.name], found = self._convert(part)
            if part.name == "fused" or not self.segments:
                names = [name if part.name == "fused" else f"{part.name}/{name}" for name in part.net.outputs]
                outputs = [group_by_head(names, [row[name] for name in part.net.outputs]) for row in found]
        return NcnnModel(files, outputs)

    def _parts(self, pixels: Array, rows: Sequence[int]) -> Iterator[_Part]:
        """Segments in order, heads, and the fused graph, each with the maps that onnxruntime computed before."""
        nets, free = self._nets()
        maps: list[dict[str, Array]] = [{IMAGE: pixels[row][None]} for row in rows]
        crop = self._crop(pixels[rows[0]])
        for name, net in nets.items():
            feeds = [_inputs(net, row) for row in maps]
            part = _Part(name, net, feeds, _references(net, feeds))
            if name in free and set(crop) >= {value.name for value in net.inputs}:
                part = replace(part, free=free[name], crop=_cropped(free[name], _inputs(net, crop)))
            if name in self.segments:
                for row, tensors in zip(maps, part.expected):
                    row.update(tensors)
                crop = {**crop, **part.crop[1]} if part.crop else {}
            yield part

    def _nets(self) -> tuple[dict[str, Net], dict[str, Net]]:
        """The graphs for the size of the image, and those that may take any size, by part."""
        segments, heads = self.assembly.on_pixels(one_pass=False)
        resizable = self.assembly.cell_dependencies()
        free = {name: any_size(net) for name, net in zip(self.segments, segments)}
        free |= {name: with_free_size(net) for name, net in heads.items() if name in resizable}
        free = {name: net for name, net in free.items() if any(None in value.shape for value in net.inputs)}
        nets = {**dict(zip(self.segments, segments)), **heads}
        nets = {name: _sized(free[name], net) if name in free else net for name, net in nets.items()}
        return {**nets, **({"fused": self.assembly.whole_on_pixels(one_pass=False)} if segments else {})}, free

    def _crop(self, image: Array) -> Tensors:
        """A part of an image, wider than high, in which every map has whole cells; {} if there is none."""
        strides = [f.receptive_field.stride for f in self.assembly.maps() if f.receptive_field is not None]
        step = math.lcm(16, *(int(stride) for stride in strides if stride.denominator == 1))
        height, width = image.shape[0] // 2 // step * step, image.shape[1] // 2 // step * step + step
        fits = 0 < height < image.shape[0] and width <= image.shape[1]
        return {IMAGE: image[None, :height, :width]} if fits else {}

    def _convert(self, part: _Part) -> tuple[NcnnGraph, list[Tensors]]:
        """Convert one part, and run it on the rows. Returns it, and its outputs."""
        converted = pnnx.convert(part.name, _planes(part.net), self.program, self.folder)
        if converted.unsupported:
            operations = ", ".join(converted.unsupported)
            raise ModelError(f"{part.name} for ncnn: pnnx does not convert {operations}; expected a graph without them")
        text = _declared(converted.param, part.net)
        proof = self._run(part.name, text, part.feeds)
        errors = [_largest_error(part.name, *pair) for pair in zip(part.expected, proof.outputs)]
        error, output = max(errors)
        if not error <= TOLERANCE and not error <= (tolerance := _NOISE * _noise(part)):
            raise ModelError(
                f"{part.name} for ncnn: output '{output}' differs from onnxruntime by {error:.2g}; "
                f"expected at most {max(tolerance, TOLERANCE):.2g}"
            )
        free = self._free_text(part, converted.param)
        size = len(converted.weights)
        memory = Memory(size, max(0, proof.memory - size))
        graph = NcnnGraph((free or text).encode("ascii"), converted.weights, memory, error, free is not None)
        return graph, proof.outputs

    def _free_text(self, part: _Part, param: str) -> str | None:
        """The .param for any size, if it computes the image and a part of it as onnxruntime does; else None."""
        if part.free is None or part.crop is None:
            return None
        text = _declared(pnnx_graph.with_free_rows(param, part.net), part.free)
        feeds, expected = part.crop
        try:
            proof = self._run(part.name, text, [feeds, part.feeds[0]])
            error = max(
                _largest_error(part.name, expected, proof.outputs[0]),
                _largest_error(part.name, part.expected[0], proof.outputs[1]),
            )
        except ModelError:
            return None
        return text if error[0] <= TOLERANCE else None

    def _run(self, name: str, param: str, feeds: Sequence[Tensors]) -> pnnx.ProofRun:
        path = self.folder / pnnx.PARAM
        path.write_text(param, encoding="ascii")
        return pnnx.run(name, path, feeds)


def _inputs(net: Net, tensors: Tensors) -> Tensors:
    return {value.name: tensors[value.name] for value in net.inputs}


def _cropped(net: Net, feeds: Tensors) -> tuple[Tensors, Tensors] | None:
    """Inputs and outputs of a graph for a part of an image; None if it does not take one."""
    try:
        return feeds, _references(net, [feeds])[0]
    except ModelError:
        return None


def _sized(loose: Net, net: Net) -> Net:
    """`loose` for the input sizes of `net`."""
    sized = loose.copy()
    sized.inputs = list(net.inputs)
    sized.declared = dict(net.declared)
    return sized


def _noise(part: _Part) -> float:
    """The largest error of onnxruntime without its optimizations: of rounding in another order."""
    pairs = zip(part.expected, _references(part.net, part.feeds, optimize=False))
    return max(_largest_error(part.name, *pair)[0] for pair in pairs)


def _references(net: Net, rows: Sequence[Tensors], *, optimize: bool = True) -> list[Tensors]:
    """The outputs of onnxruntime, of every row of inputs."""
    session = HostSession(net.serialize(), optimize=optimize)
    return [dict(zip(session.outputs, session.feed({n: row[n] for n in session.inputs}))) for row in rows]


def _planes(net: Net) -> Net:
    """The graph on float32 planes, which the backend makes of pixels: without the first Transpose and Cast."""
    if [value.name for value in net.inputs] != [IMAGE]:
        return net
    net = net.copy()
    (value,), (transpose, cast, *others) = net.inputs, net.nodes
    assert (transpose.op, cast.op) == ("Transpose", "Cast")
    net.inputs = [Value(IMAGE, "float32", (1, 3, *value.shape[1:3]))]
    net.nodes = others
    net.redirect(cast.outputs[0], IMAGE)
    return net


def _declared(param: str, net: Net) -> str:
    """The text of a .param with the tensors of a graph: pnnx numbers inputs and outputs in its order."""
    values = net.declared | net.values()

    def tensors(word: str, found: Sequence[Value]) -> tuple[ncnn_param.Tensor, ...]:
        return tuple(ncnn_param.Tensor(f"{word}{i}", TensorSpec(v.name, v.shape, v.dtype)) for i, v in enumerate(found))

    outputs = [replace(values[name], name=name) for name in net.outputs]
    return ncnn_param.with_tensors(param, tensors("in", net.inputs), tensors("out", outputs))


def _largest_error(name: str, expected: Tensors, found: Tensors) -> tuple[float, str]:
    """The largest error, as `edge-app check` measures it, and its output. Raises ModelError if shapes differ."""
    errors = []
    for output, reference in expected.items():
        if found[output].shape != reference.shape:
            raise ModelError(
                f"{name} for ncnn: output '{output}' is {found[output].shape}; expected {reference.shape}, as of ONNX"
            )
        error = golden_error(reference, found[output])
        errors.append((error if math.isfinite(error) else math.inf, output))
    return max(errors)
