"""Write the files of a model folder: float graphs, INT8 graphs, NPU files, golden vectors, manifest.

Not here: quantizing graphs (quantize.py), converting them (npu.py), replacing the old folder (folder.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.compiler import activations, describe, folder, given_ranges, ncnn_target, npu, pnnx, quantize, ranges
from edge_app.compiler.canonical import any_size
from edge_app.compiler.comparison import OutputComparison, Outputs, group_by_head
from edge_app.compiler.compilation import GOLDEN, Compilation, Progress
from edge_app.compiler.net import Net
from edge_app.compiler.npu_shapes import SegmentShapes
from edge_app.compiler.output_cells import with_free_size
from edge_app.compiler.report import Int8Report, Report
from edge_app.compiler.session import HostSession, times_ms
from edge_app.inference.golden import TOLERANCE
from edge_app.model.manifest import GOLDEN as GOLDEN_FILE
from edge_app.model.schema import FixedShape, FixedShapes, Memory


class FolderWriter:
    """Writes into a folder, and adds the measurements it makes to the report."""

    def __init__(self, compilation: Compilation, out: Path, progress: Progress, report: Report) -> None:
        self._compilation, self._folder, self._progress, self._report = compilation, out, progress, report
        self._assembly, self._images = compilation.assembly, compilation.images
        self._rows = compilation.held_out_rows
        self._whole = self._assembly.whole_on_pixels()
        reference = self._run(self._whole.serialize())
        self._comparison = OutputComparison(
            compilation.models, self._assembly.whole, self._images, self._rows, reference
        )
        self._files: dict[str, dict[str, str]] = {}  # by part (backbone, head name, fused), then by target
        self._golden: dict[str, list[Outputs]] = {"": reference[:GOLDEN]}
        self._memory: dict[str, Memory] = {}
        self._shapes: dict[str, FixedShapes] = {}

    def write_all(self) -> None:
        """Write every target, then golden vectors and manifest."""
        self._write_float()
        int8 = self._write_int8() if self._compilation.plan.calibrate else None
        for target in self._compilation.plan.targets:
            if target == ncnn_target.TARGET:
                self._write_ncnn()
            elif target != "onnx":
                self._write_npu(target, int8)
        self._progress("writing golden vectors")
        self._write_golden()
        self._progress("writing the manifest")
        folder.write_manifest(
            self._folder, describe.manifest(self._compilation, self._files, self._memory, self._shapes)
        )

    def _write_float(self) -> None:
        self._progress("writing float graphs")
        for part, net in self._parts().items():
            self._write(part, "onnx", "onnx", net.serialize())

    def _parts(self, *, one_pass: bool = True) -> dict[str, Net]:
        """Every graph, by part: backbone segments, heads, segments of heads, fused.

        Those that can run on a part of an image take any size.
        """
        segments, heads = self._assembly.on_pixels(one_pass=one_pass)
        named = {self._compilation.segment(i): net for i, net in enumerate(segments)}
        resizable = self._assembly.cell_dependencies()
        heads = {name: with_free_size(net) if name in resizable else net for name, net in heads.items()}
        pieces = {
            self._compilation.head_segment(name, i): segment.net
            for name, segments in self._assembly.head_segments.items()
            for i, segment in enumerate(segments)
        }
        parts = {**{name: any_size(net) for name, net in named.items()}, **heads, **pieces}
        return {**parts, "fused": self._whole} if segments else parts

    def _write_int8(self) -> list[Outputs]:
        """Write the INT8 graphs. Returns their outputs for the held-out rows."""
        self._progress("int8: measuring ranges")
        plain = self._assembly.whole_on_pixels(one_pass=False)
        histograms = ranges.measure(plain, [self._images.pixels[i] for i in self._images.calibration])

        def mean_agreement(data: bytes) -> float:
            return float(np.mean(list(self._comparison.agreement(self._run(data)).values())))

        compared = [self._images.pixels[i] for i in self._rows[:2]]
        last = list(activations.last(plain.to_model()).values()) or plain.outputs  # scores near 0 or 1 tell little

        def closeness(int8: Net) -> float:
            return _lowest(quantize.cosines(plain, int8, compared, last), last) or 0.0

        if (path := self._compilation.plan.ranges) is not None:
            measured = ranges.from_histograms(histograms, ranges.METHODS[0])
            given = given_ranges.applied(measured, given_ranges.read(path), path)
            choice = quantize.Choice("given ranges", given, {})
        else:
            choice = quantize.choose(plain, histograms, mean_agreement, closeness, self._progress)
        whole = quantize.quantized(plain, choice.ranges)
        data = quantize.serialized(whole)
        outputs = self._run(data)
        for part, net in self._parts(one_pass=False).items():
            self._write(part, "int8", "int8.onnx", data if part == "fused" else _quantized_part(net, choice.ranges))
        self._golden["int8:"] = outputs[:GOLDEN]
        session = HostSession(data)
        cosines = quantize.cosines(plain, whole, compared)
        self._report.int8 = Int8Report(
            self._comparison.agreement(outputs), choice.method, choice.scores,
            cosines, quantize.float_convolutions(whole), len(data),
            times_ms({"int8": lambda: session.run(self._images.pixels[:1])})["int8"], _lowest(cosines, last),
        )  # fmt: skip
        return outputs

    def _write_ncnn(self) -> None:
        """Write NAME.param, which the manifest lists, and NAME.bin for every part."""
        segments = [self._compilation.segment(i) for i in range(len(self._assembly.segments))]
        with tempfile.TemporaryDirectory() as temporary:
            conversion = ncnn_target.Conversion(
                pnnx.program(self._compilation.plan.pnnx), Path(temporary), self._progress, self._assembly, segments
            )
            converted = conversion.run(self._images.pixels, self._rows)
        for part, graph in converted.files.items():
            name = self._write(part, ncnn_target.TARGET, "ncnn.param", graph.param)
            (self._folder / f"{part}.ncnn.bin").write_bytes(graph.weights)
            self._memory[name] = graph.memory
        self._report.ncnn = report = converted.report(self._comparison)
        if report.max_error > TOLERANCE:  # rounding alone: `check` then compares with these, as for an NPU
            self._golden["ncnn:"] = converted.outputs[:GOLDEN]

    def _write_npu(self, target: str, int8: list[Outputs] | None) -> None:
        plan = self._compilation.plan
        with tempfile.TemporaryDirectory() as temporary:
            conversion = npu.Conversion(
                target, npu.python(plan.converter), Path(temporary), self._progress, self._assembly, plan.shapes,
                plan.npu_precision, given_ranges.read(plan.ranges) if plan.ranges is not None else {},
            )  # fmt: skip
            converted = conversion.run(self._images, self._rows)
        for part, graph in converted.files.items():
            name = self._write(part, target, f"{target}.rknn", graph.data)
            self._memory[name] = graph.memory
        if converted.segments:
            segments = tuple(self._write_shapes(name, target, shapes) for name, shapes in converted.segments.items())
            heads = {name: self._write_shapes(name, target, shapes) for name, shapes in converted.heads.items()}
            self._shapes[target] = FixedShapes(segments, heads)
        self._golden[f"{target}:"] = converted.outputs[:GOLDEN]
        self._report.npu[target] = converted.report(self._comparison, int8)

    def _write_shapes(self, part: str, target: str, shapes: SegmentShapes) -> tuple[FixedShape, ...]:
        """Write one segment or head in every shape; the first one is for the whole image."""
        fixed_shapes: list[FixedShape] = []
        for (width, height), graph in shapes.files.items():
            name = f"{part}.{target}.rknn" if not fixed_shapes else f"{part}.{width}x{height}.{target}.rknn"
            (self._folder / name).write_bytes(graph.data)
            self._memory[name] = graph.memory
            fixed_shapes.append(FixedShape(width, height, name))
        return tuple(fixed_shapes)

    def _write(self, part: str, target: str, suffix: str, data: bytes) -> str:
        name = f"{part}.{suffix}"
        (self._folder / name).write_bytes(data)
        self._files.setdefault(part, {})[target] = name
        return name

    def _write_golden(self) -> None:
        """Write `image` (N, H, W, 3) uint8 BGR; float32 `head/output` (N, …); `target:head/output` of INT8 and NPUs."""
        arrays: dict[str, Any] = {"image": self._images.pixels[list(self._rows[:GOLDEN])]}
        for prefix, outputs in self._golden.items():
            for head, named in outputs[0].items():
                for output in named:
                    arrays[f"{prefix}{head}/{output}"] = np.concatenate(
                        [row_outputs[head][output] for row_outputs in outputs]
                    )
        np.savez_compressed(self._folder / GOLDEN_FILE, **arrays)

    def _run(self, data: bytes) -> list[Outputs]:
        """Outputs of a whole graph for the held-out rows."""
        session = HostSession(data)
        return [group_by_head(self._whole.outputs, session.run(self._images.pixels[row][None])) for row in self._rows]


def _lowest(cosines: Mapping[str, float], names: Sequence[str]) -> float | None:
    """The lowest cosine of these tensors; None if none of them is in both graphs."""
    return min((cosines[name] for name in names if name in cosines), default=None)


def _quantized_part(net: Net, tensor_ranges: ranges.Ranges) -> bytes:
    """One part as an INT8 graph. tensor_ranges: ranges by the tensor names of the whole graph."""
    part_ranges = {}
    for name in {value.name for value in net.inputs} | {output for node in net.nodes for output in node.outputs}:
        whole_name = next((n for n in (f"{net.name}/{name}", f"{net.name}.{name}", name) if n in tensor_ranges), None)
        if whole_name is not None:
            part_ranges[name] = tensor_ranges[whole_name]
    return quantize.serialized(quantize.quantized(net, part_ranges))
