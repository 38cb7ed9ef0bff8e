"""`edge-app compile`: runs the passes in order, from ONNX files to a model folder.

Not here: the command line (command.py), the form of the report (report.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from edge_app.compiler import (
    assemble,
    calibration_images,
    folder,
    input_models,
    ncnn_target,
    npu,
    npu_shapes,
    pnnx,
    proof,
    score_proof,
)
from edge_app.compiler.assemble import Assembly, Runner
from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.compilation import CALIBRATION, HELD_OUT, Compilation, Plan, Progress
from edge_app.compiler.folder_writer import FolderWriter
from edge_app.compiler.input_models import InputModel
from edge_app.compiler.proof import HeadProof
from edge_app.compiler.report import HeadReport, Report
from edge_app.compiler.session import HostSession, times_ms
from edge_app.errors import ConfigError
from edge_app.model.schema import Input


def build(plan: Plan, progress: Progress) -> Report:
    """Compile and write `plan.out`. progress: called with the name of each step.

    Raises ConfigError, ModelError; `plan.out` is then unchanged.
    """
    start = time.monotonic()
    npu.check_targets(plan)
    backup = folder.check_out(plan.out, force=plan.force)
    if ncnn_target.TARGET in plan.targets:
        pnnx.program(plan.pnnx)
    progress("reading models")
    models = tuple(input_models.read(plan.models, plan.options))
    size = plan.options.input_size
    progress("finding the backbone")
    assembly = assemble.assemble(models, None, plan.cuts)
    spec = _input(models, assembly)
    progress("reading images")
    images = _images(plan, spec)
    progress("comparing results")
    rows = images.held_out[:4]
    proofs = proof.prove(models, Runner.of(assembly), images, rows)
    for name, error in score_proof.prove(models, assembly, images, rows).items():
        proofs[name] = replace(proofs[name], scores=error)
    times = _times(models, assembly, images)
    if size and size != (spec.width, spec.height):
        progress(f"resizing to {size[0]}x{size[1]}")
        assembly = assemble.assemble(models, size, plan.cuts)
        spec = replace(spec, width=size[0], height=size[1])
        images = _images(plan, spec)
    npu_shapes.check(plan.shapes, (spec.width, spec.height), assembly)
    compilation = Compilation(plan, models, assembly, spec, images)
    report = _report(compilation, proofs, times)
    report.backup = None if backup is None else str(backup)
    with folder.staged(plan.out, backup) as staging:
        FolderWriter(compilation, staging, progress, report).write_all()
    report.seconds = time.monotonic() - start
    return report


def _images(plan: Plan, spec: Input) -> CalibrationImages:
    if not plan.calibrate:
        return calibration_images.synthetic(spec)
    count = len(plan.calibrate)
    parts = [
        calibration_images.load(path, spec, -(-CALIBRATION // count), -(-HELD_OUT // count)) for path in plan.calibrate
    ]
    return calibration_images.joined(parts)


def _input(models: Sequence[InputModel], assembly: Assembly) -> Input:
    """The manifest's input: the camera's pixels. It records mean and std, which the graphs apply."""
    height, width = assembly.whole.inputs[0].shape[2:]
    recorded = models[0].recorded
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
        recorded.crop_fraction,
    )


def _times(models: Sequence[InputModel], assembly: Assembly, images: CalibrationImages) -> dict[str, float]:
    runner, fused = Runner.of(assembly), HostSession(assembly.whole_on_pixels().serialize())
    prepared = [model.prepared(images.pixels[0]) for model in models]
    calls: Mapping[str, Callable[[], object]] = {
        "as published": lambda: [model.infer(tensor) for model, tensor in zip(models, prepared)],
        "fused": lambda: fused.run(images.pixels[:1]),
        "apart": lambda: runner.run(images.pixels[0]),
    }
    return times_ms(calls)


def _report(compilation: Compilation, proofs: dict[str, HeadProof], times: dict[str, float]) -> Report:
    plan, models, assembly, spec = compilation.plan, compilation.models, compilation.assembly, compilation.spec
    heads = [
        HeadReport(
            model.name,
            model.family.name,
            model.family.why,
            list(assembly.heads[model.name].outputs),
            len(proof.labels(model)),
        )
        for model in models
    ]
    fused = assembly.whole_on_pixels()
    mean, std = [round(n, 3) for n in spec.mean], [round(n, 3) for n in spec.std]
    warnings = compilation.images.warnings() if plan.calibrate else []
    text = f"{spec.width}x{spec.height} uint8 BGR pixels, {spec.resize}; mean {mean} and std {std} inside the graph"
    targets = ["onnx", *(["int8"] if plan.calibrate else []), *(t for t in plan.targets if t != "onnx")]
    speedup, apart = (times["as published"] / times[name] for name in ("fused", "apart"))
    assumed = list(dict.fromkeys(assumption for model in models for assumption in model.assumed))
    error = max((found.error for found in proofs.values() if found.error is not None), default=None)
    warnings += [f"{name}: {warning}" for name, found in proofs.items() if (warning := found.warning())]
    return Report(
        str(plan.out), text, heads, _backbone(assembly), error, proofs, speedup, apart, times, len(fused.serialize()),
        fused.parameters(), compilation.images.origin, targets, assumed, warnings,
    )  # fmt: skip


def _backbone(assembly: Assembly) -> dict[str, str] | None:
    if not assembly.segments:
        return None
    nodes = sum(len(net.nodes) for net in assembly.segments)
    maps = ", ".join(f"{f.name} {'x'.join(str(n) for n in f.shape[1:])}" for f in assembly.features)
    share = sum(net.parameters() for net in assembly.segments) / max(1, assembly.whole.parameters())
    heads = f"shared by {len(assembly.heads)} heads" if len(assembly.heads) > 1 else "of one head"
    cut = f" in {len(assembly.segments)} segments" if len(assembly.segments) > 1 else ""
    text = {"backbone": f"{nodes} operations{cut}, {share:.0%} of the parameters, {heads}; features {maps}"}
    if assembly.head_segments:
        counts = [f"{name} in {len(segments)} segments" for name, segments in assembly.head_segments.items()]
        text["heads"] = f"{', '.join(counts)}: its neck, and towers by stride; for reuse"
    return text


def parse_targets(text: str) -> tuple[str, ...]:
    """Parse `onnx,rv1106`; `onnx` is always a target. Raises ConfigError for an unknown target."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        known = ("onnx", "int8", ncnn_target.TARGET, *npu.TARGETS)
        if name not in known:
            raise ConfigError(f"--target: found '{name}'; expected some of {', '.join(known)}")
    return tuple(dict.fromkeys(["onnx", *(name for name in names if name != "int8")]))
