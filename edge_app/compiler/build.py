"""`edge-app compile`: from files to a model folder that proves itself. The passes in order; each is a module of its own.

Not here: the command line (cli.py), what the report looks like (report.py).
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_app import manifest as manifests
from edge_app.compiler import assemble, folder, npu, origin, pictures, quantise, ranges
from edge_app.compiler.assemble import Assembly, Runner
from edge_app.compiler.judge import Judge, Outputs, by_head
from edge_app.compiler.net import Net
from edge_app.compiler.origin import Given, Original
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.report import HeadReport, Int8Report, Report
from edge_app.compiler.session import Session, times_ms
from edge_app.errors import ConfigError
from edge_app.manifest import Input

CALIBRATION, HELD_OUT, GOLDEN = 40, 16, 3
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to compile. targets: `onnx`, and NPUs by SoC. cuts: strides to cut the backbone into segments at.

    calibrate: clips and folders; with any, int8 is made too. converter: the environment of the RKNN converter.
    """

    models: tuple[Path, ...]
    out: Path
    given: Given
    targets: tuple[str, ...] = ("onnx",)
    calibrate: tuple[Path, ...] = ()
    cuts: tuple[int, ...] = ()
    converter: Path | None = None


def build(plan: Plan, say: Say) -> Report:
    """Compile. say: told of every step. Raises ConfigError, ModelError; what was at `plan.out` then stays as it was."""
    start = time.monotonic()
    npu.check_targets(plan.targets, bool(plan.calibrate), plan.converter)
    say("reading")
    originals = origin.read(plan.models, plan.given)
    size = plan.given.input_size
    say("finding the backbone")
    assembly = assemble.assemble(originals, None, plan.cuts)
    spec = _input(originals, assembly)
    say("reading pictures")
    seen = _pictures(plan, spec)
    say("proving equality")
    error = assemble.prove_equal(originals, _runner(assembly), seen, seen.held_out[:4])
    times = _times(originals, assembly, seen)
    if size and size != (spec.width, spec.height):
        say(f"for {size[0]}x{size[1]} images")
        assembly = assemble.assemble(originals, size, plan.cuts)
        spec = replace(spec, width=size[0], height=size[1])
        seen = _pictures(plan, spec)
    report = _report(plan, originals, assembly, spec, error, times)
    report.pictures, report.warnings = seen.origin, seen.warnings() if plan.calibrate else []
    with folder.written(plan.out) as place:
        made = _Maker(plan, originals, assembly, seen, place, say, report)
        made.everything(spec)
    report.seconds = time.monotonic() - start
    return report


class _Maker:
    """Writes one model folder, target by target."""

    def __init__(
        self, plan: Plan, originals: Sequence[Original], assembly: Assembly, seen: Pictures, place: Path, say: Say, report: Report
    ) -> None:
        self._plan, self._originals, self._assembly, self._seen = plan, originals, assembly, seen
        self._place, self._say, self._report = place, say, report
        self._whole = assembly.whole_on_pixels()
        rows = seen.held_out[:HELD_OUT]
        self._rows = rows
        self._reference = _outputs(self._whole.serialize(), self._whole.outputs, seen, rows)
        self._judge = Judge(originals, assembly.whole, seen, rows, self._reference)
        self._files: dict[str, dict[str, str]] = {}  # by part (backbone0, head name, fused), then by target
        self._golden: dict[str, list[Outputs]] = {"": self._reference[:GOLDEN]}
        self._memory: dict[str, manifests.Memory] = {}

    def everything(self, spec: Input) -> None:
        self._float()
        int8 = self._int8() if self._plan.calibrate else None
        for target in self._plan.targets:
            if target != "onnx":
                self._npu(target, int8)
        self._say("writing golden vectors")
        self._write_golden()
        self._say("writing the manifest")
        folder.write_manifest(self._place, self._manifest(spec))

    def _float(self) -> None:
        self._say("writing float graphs")
        for part, net in self._parts().items():
            self._write(part, "onnx", "onnx", net.serialize())

    def _parts(self, *, one_pass: bool = True) -> dict[str, Net]:
        """Every graph on pixels or features, by part; the backbone's take any image size."""
        segments, heads = self._assembly.on_pixels(one_pass=one_pass)
        named = {_segment(i, len(segments)): net for i, net in enumerate(segments)}
        parts = {**{name: _free(net) for name, net in named.items()}, **heads}
        return {**parts, "fused": self._whole} if segments else parts

    def _int8(self) -> list[Outputs]:
        """Quantise; returns the outputs for the rows that are judged."""
        self._say("int8: measuring ranges")
        plain = self._assembly.whole_on_pixels(one_pass=False)
        histograms = ranges.measure(plain, [self._seen.pixels[i] for i in self._seen.calibration])
        names = self._whole.outputs

        def judge(data: bytes) -> float:
            found = self._judge.agreement(_outputs(data, names, self._seen, self._rows))
            return float(np.mean(list(found.values())))

        choice = quantise.choose(plain, histograms, judge, self._say)
        whole = quantise.quantised(plain, choice.ranges)
        data = quantise.serialized(whole)
        found = _outputs(data, names, self._seen, self._rows)
        for part, net in self._parts(one_pass=False).items():
            self._write(part, "int8", "int8.onnx", data if part == "fused" else _quantised(net, choice.ranges))
        self._golden["int8:"] = found[:GOLDEN]
        session = Session(data)
        self._report.int8 = Int8Report(
            self._judge.agreement(found), choice.method, choice.scores,
            quantise.cosines(plain, whole, [self._seen.pixels[i] for i in self._rows[:2]]),
            quantise.float_convolutions(whole), len(data),
            times_ms({"int8": lambda: session.run(self._seen.pixels[:1])})["int8"],
        )  # fmt: skip
        return found

    def _npu(self, target: str, int8: list[Outputs] | None) -> None:
        with tempfile.TemporaryDirectory() as temporary:
            conversion = npu.Conversion(target, npu.python(self._plan.converter), Path(temporary), self._say)
            made = conversion.run(self._assembly, self._seen, self._rows)
        for part, converted in made.files.items():
            name = self._write(part, target, f"{target}.rknn", converted.data)
            self._memory[name] = converted.memory
        self._golden[f"{target}:"] = made.outputs[:GOLDEN]
        self._report.npu[target] = made.report(self._judge, int8)

    def _write(self, part: str, target: str, suffix: str, data: bytes) -> str:
        name = f"{part}.{suffix}"
        (self._place / name).write_bytes(data)
        self._files.setdefault(part, {})[target] = name
        return name

    def _write_golden(self) -> None:
        """golden.npz: `image` (N, H, W, 3) uint8 BGR; `head/output` (N, …) of float32; `target:head/output` of others."""
        arrays: dict[str, Any] = {"image": self._seen.pixels[list(self._rows[:GOLDEN])]}
        for prefix, outputs in self._golden.items():
            for head, named in outputs[0].items():
                for output in named:
                    arrays[f"{prefix}{head}/{output}"] = np.concatenate([each[head][output] for each in outputs])
        np.savez_compressed(self._place / manifests.GOLDEN, **arrays)

    def _manifest(self, spec: Input) -> dict[str, Any]:
        assembly = self._assembly
        heads = {}
        for original in self._originals:
            net = assembly.heads[original.name]
            heads[original.name] = {
                "family": original.family.name,
                **({"inputs": [value.name for value in net.inputs]} if assembly.segments else {}),
                "graph": self._files[original.name],
                **({"labels": _plain(original.labels)} if original.labels else {}),
                **({"options": {k: _plain(v) for k, v in original.options.items()}} if original.options else {}),
            }
        written: dict[str, Any] = {"format": manifests.FORMAT, "name": self._plan.out.name, "input": _input_block(spec)}
        if assembly.segments:
            count = len(assembly.segments)
            written["backbone"] = {
                "graphs": [self._files[_segment(i, count)] for i in range(count)],
                "features": [feature.name for feature in assembly.features],
                "extents": _extents(assembly),
            }
        written["heads"] = heads
        if "fused" in self._files:
            written["fused"] = self._files["fused"]
        if self._memory:
            written["memory"] = {n: {"weights": m.weights, "internal": m.internal} for n, m in self._memory.items()}
        return written


def _pictures(plan: Plan, spec: Input) -> Pictures:
    if not plan.calibrate:
        return pictures.synthetic(spec)
    count = len(plan.calibrate)
    parts = [pictures.load(path, spec, -(-CALIBRATION // count), -(-HELD_OUT // count)) for path in plan.calibrate]
    return pictures.joined(parts)


def _input(originals: Sequence[Original], assembly: Assembly) -> Input:
    """The manifest's input: the camera's pixels; mean and std are recorded, the graphs apply them."""
    height, width = assembly.whole.inputs[0].shape[2:]
    recorded = originals[0].recorded
    step = -1 if recorded.color == "rgb" else 1
    mean, std = (tuple(float(n) for n in values[::step]) for values in (recorded.mean, recorded.std))
    return Input(
        width or 0, height or 0, "bgr", "nhwc", "uint8", (mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), recorded.resize
    )


def _input_block(spec: Input) -> dict[str, Any]:
    fields = ("width", "height", "color", "layout", "dtype", "mean", "std", "resize", "pad")
    return {name: _plain(getattr(spec, name)) for name in fields}


def _extents(assembly: Assembly) -> dict[str, dict[str, int]]:
    """Of every map that leaves a segment and does not depend on the whole picture."""
    found = {}
    for feature in assembly.maps():
        if feature.extent is not None and feature.extent.stride.denominator == 1:
            low, high = feature.extent.low.__floor__(), feature.extent.high.__ceil__()
            found[feature.name] = {
                "stride": int(feature.extent.stride), "low": int(low), "high": int(high), "channels": int(feature.shape[1] or 0),
            }  # fmt: skip
    return found


def _runner(assembly: Assembly) -> Runner:
    segments, heads = assembly.on_pixels()
    return Runner([_free(net).serialize() for net in segments], {name: net.serialize() for name, net in heads.items()})


def _times(originals: Sequence[Original], assembly: Assembly, seen: Pictures) -> dict[str, float]:
    runner, fused = _runner(assembly), Session(assembly.whole_on_pixels().serialize())
    prepared = [original.prepared(seen.pixels[0]) for original in originals]
    calls: Mapping[str, Callable[[], object]] = {
        "as published": lambda: [o.infer(tensor) for o, tensor in zip(originals, prepared)],
        "fused": lambda: fused.run(seen.pixels[:1]),
        "apart": lambda: runner.run(seen.pixels[0]),
    }
    return times_ms(calls)


def _report(
    plan: Plan, originals: Sequence[Original], assembly: Assembly, spec: Input, error: float, times: dict[str, float]
) -> Report:
    heads = [
        HeadReport(o.name, o.family.name, o.family.why, list(assembly.heads[o.name].outputs), _label_count(o))
        for o in originals
    ]
    fused = assembly.whole_on_pixels()
    mean, std = [round(n, 3) for n in spec.mean], [round(n, 3) for n in spec.std]
    text = f"{spec.width}x{spec.height} uint8 BGR pixels, {spec.resize}; the graph applies mean {mean}, std {std}"
    targets = ["onnx", *(["int8"] if plan.calibrate else []), *(t for t in plan.targets if t != "onnx")]
    return Report(
        str(plan.out), text, heads, _backbone(assembly), error, times["as published"] / times["fused"],
        times["as published"] / times["apart"], times, len(fused.serialize()), fused.parameters(), "", targets,
        list(dict.fromkeys(text for o in originals for text in o.assumed)),
    )  # fmt: skip


def _backbone(assembly: Assembly) -> dict[str, str] | None:
    if not assembly.segments:
        return None
    nodes = sum(len(net.nodes) for net in assembly.segments)
    maps = ", ".join(f"{f.name} {'x'.join(str(n) for n in f.shape[1:])}" for f in assembly.features)
    share = sum(net.parameters() for net in assembly.segments) / max(1, assembly.whole.parameters())
    heads = f"shared by {len(assembly.heads)} heads" if len(assembly.heads) > 1 else "of one head"
    cut = f" in {len(assembly.segments)} segments" if len(assembly.segments) > 1 else ""
    return {"backbone": f"{nodes} operations{cut}, {share:.0%} of the parameters, {heads}; features {maps}"}


def _label_count(original: Original) -> int:
    if isinstance(original.labels, str):
        return 80 if original.labels == "coco80" else 0
    return len(original.labels)


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


def _segment(index: int, count: int) -> str:
    return "backbone" if count == 1 else f"backbone{index}"


def _free(net: Net) -> Net:
    """The same graph for any image size, where nothing in it contradicts."""
    free = net.copy()
    free.inputs = [
        replace(v, shape=(1, None, None, 3) if v.dtype == "uint8" else (1, v.shape[1], None, None)) for v in net.inputs
    ]
    values = free.values()
    return free if all(name in values for name in free.outputs) else net


def _plain(value: Any) -> Any:
    """A value as YAML has it: tuples as lists, whole floats as integers."""
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value


def parse_targets(text: str) -> tuple[str, ...]:
    """`onnx,rv1106` as a tuple; `onnx` is always made. Raises ConfigError for unknown ones."""
    found = [each.strip() for each in text.split(",") if each.strip()]
    for each in found:
        if each not in ("onnx", "int8", *npu.TARGETS):
            raise ConfigError(f"--target: found '{each}'; expected some of onnx, int8, {', '.join(npu.TARGETS)}")
    return tuple(dict.fromkeys(["onnx", *(each for each in found if each != "int8")]))
