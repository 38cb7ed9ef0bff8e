"""Writes the files of one model folder, target by target: float graphs, int8, NPUs, golden vectors, manifest.

Not here: how graphs are quantised (quantise.py) or converted (npu.py).
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.compiler import describe, folder, npu, quantise, ranges
from edge_app.compiler.canonical import any_size
from edge_app.compiler.cells import freed
from edge_app.compiler.judge import Judge, Outputs, by_head
from edge_app.compiler.net import Net
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.plan import GOLDEN, Say, Work
from edge_app.compiler.report import Int8Report, Report
from edge_app.compiler.session import Session, times_ms
from edge_app.compiler.shapes import Shapes
from edge_app.model.manifest import GOLDEN as GOLDEN_FILE
from edge_app.model.schema import Memory, Shape, Shaped


class Maker:
    """Fills a folder, and the report with what is measured on the way."""

    def __init__(self, work: Work, place: Path, say: Say, report: Report) -> None:
        self._work, self._place, self._say, self._report = work, place, say, report
        self._whole = work.assembly.whole_on_pixels()
        self._reference = _outputs(self._whole.serialize(), self._whole.outputs, work.seen, work.judged)
        self._judge = Judge(work.originals, work.assembly.whole, work.seen, work.judged, self._reference)
        self._files: dict[str, dict[str, str]] = {}  # by part (backbone, head name, fused), then by target
        self._golden: dict[str, list[Outputs]] = {"": self._reference[:GOLDEN]}
        self._memory: dict[str, Memory] = {}
        self._shapes: dict[str, Shaped] = {}

    def everything(self) -> None:
        self._float()
        int8 = self._int8() if self._work.plan.calibrate else None
        for target in self._work.plan.targets:
            if target != "onnx":
                self._npu(target, int8)
        self._say("writing golden vectors")
        self._write_golden()
        self._say("writing the manifest")
        folder.write_manifest(self._place, describe.manifest(self._work, self._files, self._memory, self._shapes))

    def _float(self) -> None:
        self._say("writing float graphs")
        for part, net in self._parts().items():
            self._write(part, "onnx", "onnx", net.serialize())

    def _parts(self, *, one_pass: bool = True) -> dict[str, Net]:
        """Every graph on pixels or features, by part; the backbone's take any image size."""
        segments, heads = self._work.assembly.on_pixels(one_pass=one_pass)
        named = {self._work.segment(i): net for i, net in enumerate(segments)}
        behind = self._work.assembly.cells()
        heads = {name: freed(net) if name in behind else net for name, net in heads.items()}
        parts = {**{name: any_size(net) for name, net in named.items()}, **heads}
        return {**parts, "fused": self._whole} if segments else parts

    def _int8(self) -> list[Outputs]:
        """Quantise; returns the outputs for the rows that are judged."""
        self._say("int8: measuring ranges")
        plain = self._work.assembly.whole_on_pixels(one_pass=False)
        histograms = ranges.measure(plain, [self._work.seen.pixels[i] for i in self._work.seen.calibration])
        names = self._whole.outputs

        def judge(data: bytes) -> float:
            found = self._judge.agreement(_outputs(data, names, self._work.seen, self._work.judged))
            return float(np.mean(list(found.values())))

        choice = quantise.choose(plain, histograms, judge, self._say)
        whole = quantise.quantised(plain, choice.ranges)
        data = quantise.serialized(whole)
        found = _outputs(data, names, self._work.seen, self._work.judged)
        for part, net in self._parts(one_pass=False).items():
            self._write(part, "int8", "int8.onnx", data if part == "fused" else _quantised(net, choice.ranges))
        self._golden["int8:"] = found[:GOLDEN]
        session = Session(data)
        self._report.int8 = Int8Report(
            self._judge.agreement(found), choice.method, choice.scores,
            quantise.cosines(plain, whole, [self._work.seen.pixels[i] for i in self._work.judged[:2]]),
            quantise.float_convolutions(whole), len(data),
            times_ms({"int8": lambda: session.run(self._work.seen.pixels[:1])})["int8"],
        )  # fmt: skip
        return found

    def _npu(self, target: str, int8: list[Outputs] | None) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            python, plan = npu.python(self._work.plan.converter), self._work.plan
            conversion = npu.Conversion(target, python, Path(temporary), self._say, self._work.assembly, plan.shapes)
            made = conversion.run(self._work.seen, self._work.judged)
        for part, converted in made.files.items():
            name = self._write(part, target, f"{target}.rknn", converted.data)
            self._memory[name] = converted.memory
        if made.segments:
            segments = tuple(self._shaped(name, target, shapes) for name, shapes in made.segments.items())
            heads = {name: self._shaped(name, target, shapes) for name, shapes in made.heads.items()}
            self._shapes[target] = Shaped(segments, heads)
        self._golden[f"{target}:"] = made.outputs[:GOLDEN]
        self._report.npu[target] = made.report(self._judge, int8)

    def _shaped(self, part: str, target: str, shapes: Shapes) -> tuple[Shape, ...]:
        """Write the files of one step's shapes. A head's whole one is written again as it was."""
        found: list[Shape] = []
        for (width, height), converted in shapes.files.items():
            name = f"{part}.{target}.rknn" if not found else f"{part}.{width}x{height}.{target}.rknn"
            (self._place / name).write_bytes(converted.data)
            self._memory[name] = converted.memory
            found.append(Shape(width, height, name))
        return tuple(found)

    def _write(self, part: str, target: str, suffix: str, data: bytes) -> str:
        name = f"{part}.{suffix}"
        (self._place / name).write_bytes(data)
        self._files.setdefault(part, {})[target] = name
        return name

    def _write_golden(self) -> None:
        """`image` (N, H, W, 3) uint8 BGR; `head/output` (N, …) of float32; `target:head/output` of int8 and NPUs."""
        arrays: dict[str, Any] = {"image": self._work.seen.pixels[list(self._work.judged[:GOLDEN])]}
        for prefix, outputs in self._golden.items():
            for head, named in outputs[0].items():
                for output in named:
                    arrays[f"{prefix}{head}/{output}"] = np.concatenate([each[head][output] for each in outputs])
        np.savez_compressed(self._place / GOLDEN_FILE, **arrays)


def _outputs(data: bytes, names: Sequence[str], seen: Pictures, rows: Sequence[int]) -> list[Outputs]:
    session = Session(data)
    return [by_head(names, session.run(seen.pixels[row][None])) for row in rows]


def _quantised(net: Net, found: ranges.Ranges) -> bytes:
    """One part in int8. found: ranges by the names that tensors have in the whole graph."""
    own = {}
    for name in {value.name for value in net.inputs} | {output for node in net.nodes for output in node.outputs}:
        there = next((n for n in (f"{net.name}/{name}", f"{net.name}.{name}", name) if n in found), None)
        if there is not None:
            own[name] = found[there]
    return quantise.serialized(quantise.quantised(net, own))
