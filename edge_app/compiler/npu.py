"""Convert every graph of a model for one NPU, and run it in the converter's simulator as the device would run it.

The backbone is one graph, since every further graph costs copies out of the NPU and back into it. Heads are calibrated
with float32 features, and simulated with the features of the simulated backbone. One more file, fused, holds backbone
and heads. If parts of an image are wanted, segments and heads are also converted in several shapes, with the scales of
the backbone and of the whole head.
Not here: the converter itself (rknn.py), the shapes (npu_shapes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edge_app.compiler import frontend, given_ranges, int16, npu_shapes, rknn
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.comparison import OutputComparison, Outputs
from edge_app.compiler.compilation import NpuPrecision, Plan
from edge_app.compiler.frontend import IMAGE
from edge_app.compiler.net import Net
from edge_app.compiler.npu_shapes import SegmentShapes
from edge_app.compiler.report import NpuReport, ShapesReport
from edge_app.compiler.rknn import ConversionJob, ConvertedGraph, Ranges
from edge_app.compiler.session import Array, HostSession
from edge_app.errors import ConfigError, ModelError
from edge_app.reuse.fixed_shapes import Size

TARGETS = rknn.TARGETS
ShapesByName = dict[str, SegmentShapes]


def check_targets(plan: Plan) -> None:
    """Check NPUs, precision, calibration and converter before work begins. Raises ConfigError."""
    npus = [target for target in plan.targets if target in TARGETS]
    if plan.npu_precision != "int8":
        _check_precision(plan, npus)
    if plan.shapes and not npus:
        raise ConfigError("--npu-shapes: found no NPU among the targets; expected one, such as --target rv1106")
    if npus and not plan.calibrate and plan.npu_precision != "float16":
        found = f"--target {npus[0]}: NPUs compute in {plan.npu_precision}"
        raise ConfigError(f"{found}; expected --calibrate with a clip or a folder of images")
    if npus:
        python = rknn.environment(plan.converter)
        if plan.shapes:
            rknn.check_ranges(python)


def _check_precision(plan: Plan, npus: Sequence[str]) -> None:
    option = f"--precision {plan.npu_precision}"
    able = [target for target in TARGETS if plan.npu_precision in rknn.PRECISIONS[target]]
    if not npus:
        raise ConfigError(f"{option}: found no NPU among the targets; expected some of {', '.join(able)}")
    if others := [target for target in npus if target not in able]:
        raise ConfigError(f"{option}: found the target {others[0]}; expected some of {', '.join(able)}")
    if plan.shapes:
        raise ConfigError(f"{option}: found with --npu-shapes; expected --precision int8")


def python(converter: Path | None) -> Path:
    return rknn.environment(converter)


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """All graphs of a model for one target.

    files: by part. outputs: of the simulator for every held-out row, with backbone and heads as separate graphs.
    segments, heads: in several shapes, by name; empty without --npu-shapes. finer: a more exact precision that the
    target has for this model, or "".
    """

    files: dict[str, ConvertedGraph]
    outputs: list[Outputs]
    segments: ShapesByName = field(default_factory=dict)
    heads: ShapesByName = field(default_factory=dict)
    precision: NpuPrecision = "int8"
    finer: str = ""

    def report(self, comparison: OutputComparison, int8: list[Outputs] | None) -> NpuReport:
        loaded = [graph for part, graph in self.files.items() if part != "fused"]
        return NpuReport(
            comparison.agreement(self.outputs),
            comparison.cosines(self.outputs),
            comparison.agreement(self.outputs, int8) if int8 else {},
            comparison.cosines(self.outputs, int8) if int8 else {},
            sum(graph.memory.weights for graph in loaded),
            sum(graph.memory.internal for graph in loaded),
            sorted({f"{layer.op} {layer.name}" for graph in loaded for layer in graph.cpu_layers}),
            self._shapes_report() if self.segments else None,
            self.precision,
            self.finer,
        )

    def _shapes_report(self) -> ShapesReport:
        shapes = [*self.segments.values(), *self.heads.values()]
        counted = {id(graph) for graph in self.files.values()}
        more = [
            graph for segment_shapes in shapes for graph in segment_shapes.files.values() if id(graph) not in counted
        ]
        return ShapesReport(
            len(more),
            sum(len(graph.data) for graph in more),
            sum(graph.memory.weights for graph in more),
            sum(graph.memory.internal for graph in more),
            sum(segment_shapes.boxes for segment_shapes in shapes),
        )


@dataclass(frozen=True, slots=True)
class Conversion:
    """Converts one model for one target. folder: for temporary files. sizes: of parts of an image, for reuse.

    given: ranges of tensors that replace those of the calibration images.
    """

    target: str
    python: Path
    folder: Path
    progress: Callable[[str], None]
    assembly: Assembly
    sizes: tuple[Size, ...] = ()
    precision: NpuPrecision = "int8"
    given: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def run(self, images: CalibrationImages, rows: Sequence[int]) -> ConvertedModel:
        """Convert backbone, heads and the fused graph. rows: to simulate. Raises ModelError if a conversion fails."""
        assembly = self.assembly
        if self.precision == "int16" and (node := int16.activation_product(assembly.whole)):
            layer = f"layer '{node.outputs[0]}' ({node.op}) multiplies two activations, as in attention"
            raise ModelError(f"{self.target}: {layer}: the converter has no int16 for that; expected --precision int8")
        calibration: dict[str, Array] = {IMAGE: images.pixels[list(images.calibration)]}
        simulated: dict[str, Array] = {IMAGE: images.pixels[list(rows)]}
        ranges: Ranges | None = {} if self.sizes else None  # {}: have the converter report them, for the parts
        files: dict[str, ConvertedGraph] = {}
        if assembly.backbone is not None:
            net = assembly.backbone
            files["backbone"] = graph = self._convert(ranges, "backbone", net, calibration, simulated)
            simulated.update(zip(net.outputs, graph.outputs))
            calibration.update(_float_features(net, assembly, calibration))
        head_outputs: dict[str, dict[str, Array]] = {}
        for name, net in assembly.heads.items():
            files[name] = graph = self._convert(ranges, name, net, calibration, simulated)
            head_outputs[name] = dict(zip(net.outputs, graph.outputs))
        if assembly.backbone is not None:
            files["fused"] = self._convert(None, "fused", assembly.whole, calibration, {})
        outputs: list[Outputs] = [
            {head: {n: a[i : i + 1] for n, a in named.items()} for head, named in head_outputs.items()}
            for i in range(len(rows))
        ]
        first = {name: array[:1] for name, array in simulated.items()}
        segments, heads = self._parts(files, first) if self.sizes else ({}, {})
        return ConvertedModel(files, outputs, segments, heads, self.precision, self._finer())

    def _finer(self) -> str:
        """The target's precision that is more exact than int8, if this model can use it and does not; otherwise ""."""
        finer = rknn.PRECISIONS[self.target][1]
        possible = finer != "int16" or int16.activation_product(self.assembly.whole) is None
        return finer if possible and self.precision == "int8" else ""

    def _parts(self, files: dict[str, ConvertedGraph], maps: dict[str, Array]) -> tuple[ShapesByName, ShapesByName]:
        """Segments and heads in several shapes. maps: one image and its simulated features."""
        height, width = maps[IMAGE].shape[1:3]
        segments, heads = {}, {}
        for segment in npu_shapes.segments(self.assembly):
            convert = partial(self._convert, files["backbone"].ranges)
            inputs = {value.name: maps[value.name] for value in segment.net.inputs}
            whole = convert(segment.name, segment.net, inputs, inputs)
            for name, output in zip(segment.net.outputs, whole.outputs):
                if not np.array_equal(maps.setdefault(name, output), output):
                    raise ModelError(
                        f"{segment.name} for {self.target}: output '{name}' differs from that of the whole backbone"
                    )
            segments[segment.name] = npu_shapes.convert_shapes(
                segment, ((width, height), whole), self.sizes, maps, convert
            )
        for segment in npu_shapes.heads(self.assembly):
            convert = partial(self._convert, files[segment.name].ranges)
            heads[segment.name] = npu_shapes.convert_shapes(
                segment, ((width, height), files[segment.name]), self.sizes, maps, convert
            )
        return segments, heads

    def _convert(
        self, ranges: Ranges | None, part: str, net: Net, calibration: dict[str, Array], simulated: dict[str, Array]
    ) -> ConvertedGraph:
        self.progress(f"{self.target}: {part}")
        names = [value.name for value in net.inputs]
        image = names == [IMAGE]
        graph = int16.without_splits(net) if self.precision == "int16" else net
        job = ConversionJob(
            part, graph.serialize(), self.target,
            self.assembly.mean if image else None, self.assembly.std if image else None,
            {name: calibration[name] for name in names}, {name: simulated[name] for name in names if simulated}, ranges,
            self.precision, given_ranges.for_converter(net, dict(self.given)),
        )  # fmt: skip
        return rknn.convert(job, self.python, self.folder)


def _float_features(net: Net, assembly: Assembly, tensors: dict[str, Array]) -> dict[str, Array]:
    """The float32 features of the calibration images, (N, C, H, W) by name."""
    names = [value.name for value in net.inputs]
    graph = frontend.with_pixels(net, assembly.mean, assembly.std) if names == [IMAGE] else net
    session = HostSession(graph.serialize())
    count = len(tensors[names[0]])
    rows = [session.feed({name: tensors[name][i : i + 1] for name in session.inputs}) for i in range(count)]
    return {name: np.concatenate([row[k] for row in rows]) for k, name in enumerate(net.outputs)}
