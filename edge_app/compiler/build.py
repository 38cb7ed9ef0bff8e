"""`edge-app compile`: from files to a model folder that proves itself. The passes in order, each a module of its own.

Not here: the command line (cli.py), what the report looks like (report.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edge_app.compiler import assemble, folder, npu, origin, pictures, shapes
from edge_app.compiler.assemble import Assembly, Runner
from edge_app.compiler.canonical import any_size
from edge_app.compiler.maker import Maker
from edge_app.compiler.origin import Original
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.plan import CALIBRATION, HELD_OUT, Plan, Say, Work
from edge_app.compiler.report import HeadReport, Report
from edge_app.compiler.session import Session, times_ms
from edge_app.errors import ConfigError
from edge_app.model.schema import Input


def build(plan: Plan, say: Say) -> Report:
    """Compile. say: told of every step. Raises ConfigError, ModelError; what was at `plan.out` then stays as it was."""
    start = time.monotonic()
    npu.check_targets(plan.targets, bool(plan.calibrate), plan.converter, shaped=bool(plan.shapes))
    say("reading")
    originals = tuple(origin.read(plan.models, plan.given))
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
    shapes.check(plan.shapes, (spec.width, spec.height), assembly)
    work = Work(plan, originals, assembly, spec, seen)
    report = _report(work, error, times)
    with folder.written(plan.out) as place:
        Maker(work, place, say, report).everything()
    report.seconds = time.monotonic() - start
    return report


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
        width or 0,
        height or 0,
        "bgr",
        "nhwc",
        "uint8",
        (mean[0], mean[1], mean[2]),
        (std[0], std[1], std[2]),
        recorded.resize,
        recorded.pad,
    )


def _runner(assembly: Assembly) -> Runner:
    segments, heads = assembly.on_pixels()
    return Runner(
        [any_size(net).serialize() for net in segments], {name: net.serialize() for name, net in heads.items()}
    )


def _times(originals: Sequence[Original], assembly: Assembly, seen: Pictures) -> dict[str, float]:
    runner, fused = _runner(assembly), Session(assembly.whole_on_pixels().serialize())
    prepared = [original.prepared(seen.pixels[0]) for original in originals]
    calls: Mapping[str, Callable[[], object]] = {
        "as published": lambda: [o.infer(tensor) for o, tensor in zip(originals, prepared)],
        "fused": lambda: fused.run(seen.pixels[:1]),
        "apart": lambda: runner.run(seen.pixels[0]),
    }
    return times_ms(calls)


def _report(work: Work, error: float, times: dict[str, float]) -> Report:
    plan, originals, assembly, spec = work.plan, work.originals, work.assembly, work.spec
    heads = [
        HeadReport(o.name, o.family.name, o.family.why, list(assembly.heads[o.name].outputs), _label_count(o))
        for o in originals
    ]
    fused = assembly.whole_on_pixels()
    mean, std = [round(n, 3) for n in spec.mean], [round(n, 3) for n in spec.std]
    warnings = work.seen.warnings() if plan.calibrate else []
    text = f"{spec.width}x{spec.height} uint8 BGR pixels, {spec.resize}; mean {mean} and std {std} inside the graph"
    targets = ["onnx", *(["int8"] if plan.calibrate else []), *(t for t in plan.targets if t != "onnx")]
    speedup, apart = (times["as published"] / times[name] for name in ("fused", "apart"))
    assumed = list(dict.fromkeys(text for o in originals for text in o.assumed))
    return Report(
        str(plan.out), text, heads, _backbone(assembly), error, speedup, apart, times, len(fused.serialize()),
        fused.parameters(), work.seen.origin, targets, assumed, warnings,
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


def parse_targets(text: str) -> tuple[str, ...]:
    """`onnx,rv1106` as a tuple; `onnx` is always made. Raises ConfigError for unknown ones."""
    found = [each.strip() for each in text.split(",") if each.strip()]
    for each in found:
        if each not in ("onnx", "int8", *npu.TARGETS):
            raise ConfigError(f"--target: found '{each}'; expected some of onnx, int8, {', '.join(npu.TARGETS)}")
    return tuple(dict.fromkeys(["onnx", *(each for each in found if each != "int8")]))
