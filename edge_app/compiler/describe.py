"""The manifest of a compiled model, as plain values for YAML. Not here: writing it (folder.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edge_app.compiler import rknn
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.compilation import Compilation
from edge_app.compiler.output_cells import CellDependency
from edge_app.model import manifest as manifests
from edge_app.model.schema import FixedShapes, Input, Memory, OutputCells, ReceptiveField


def manifest(
    compilation: Compilation,
    files: Mapping[str, Mapping[str, str]],
    memory: Mapping[str, Memory],
    shapes: Mapping[str, FixedShapes],
) -> dict[str, Any]:
    """files: by part (backbone, a head's name, fused), then by target. memory: by file. shapes: by target."""
    assembly, spec = compilation.assembly, compilation.spec
    written: dict[str, Any] = {
        "format": manifests.FORMAT,
        "name": compilation.plan.out.name,
        "input": _input_block(spec),
    }
    if assembly.segments:
        written["backbone"] = {
            "graphs": _graphs(compilation, files),
            "features": [feature.name for feature in assembly.features],
            "extents": {name: asdict(field) for name, field in receptive_fields(assembly).items()},
        }
    if "fused" in files:
        written["fused"] = files["fused"]
    if memory:
        written["memory"] = {n: {"weights": m.weights, "internal": m.internal} for n, m in memory.items()}
    if shapes:
        written["shapes"] = {target: asdict(shaped) for target, shaped in shapes.items()}
    if compilation.plan.npu_precision != "int8":
        npus = [target for target in compilation.plan.targets if target in rknn.TARGETS]
        written["precision"] = dict.fromkeys(npus, compilation.plan.npu_precision)
    return {**written, "heads": _heads(compilation, files)}


def _heads(compilation: Compilation, files: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, Any]]:
    assembly = compilation.assembly
    cells = output_cells(assembly)
    heads = {}
    for model in compilation.models:
        inputs = [value.name for value in assembly.heads[model.name].inputs]
        heads[model.name] = {
            "family": model.family.name,
            **({"inputs": inputs} if assembly.segments else {}),
            "graph": files[model.name],
            **({"cells": {k: asdict(v) for k, v in cells[model.name].items()}} if model.name in cells else {}),
            **_segments(compilation, model.name, files),
            **({"labels": plain(model.labels)} if model.labels else {}),
            **({"options": plain(dict(model.options))} if model.options else {}),
        }
    return heads


def _segments(compilation: Compilation, head: str, files: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The segments of a head; {} if it is not cut."""
    segments = compilation.assembly.head_segments.get(head, ())
    written = [
        {
            "graph": files[compilation.head_segment(head, i)],
            "cells": {name: asdict(cells) for name, cells in in_pixels(segment.cells).items()},
        }
        for i, segment in enumerate(segments)
    ]
    return {"segments": written} if written else {}


def _graphs(compilation: Compilation, files: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """The backbone's segments. The first also lists the whole-backbone graph of targets without segments."""
    first, *later = [dict(files[compilation.segment(i)]) for i in range(len(compilation.assembly.segments))]
    return [{**first, **files.get("backbone", {})}, *later]


def _input_block(spec: Input) -> dict[str, Any]:
    fields = ["width", "height", "color", "layout", "dtype", "mean", "std", "resize", "pad"]
    fields += ["crop_fraction"] if spec.resize == "crop" else []
    return {name: plain(getattr(spec, name)) for name in fields}


def receptive_fields(assembly: Assembly) -> dict[str, ReceptiveField]:
    """Receptive field of every map that leaves a segment, unless it depends on the whole image."""
    fields = {}
    for feature in assembly.maps():
        if feature.receptive_field is not None and feature.receptive_field.stride.denominator == 1:
            low, high = feature.receptive_field.low.__floor__(), feature.receptive_field.high.__ceil__()
            channels = int(feature.shape[1] or 0)
            fields[feature.name] = ReceptiveField(int(feature.receptive_field.stride), int(low), int(high), channels)
    return fields


def output_cells(assembly: Assembly) -> dict[str, dict[str, OutputCells]]:
    """Output cells by head and output, for heads that can run on a part of their inputs."""
    return {head: in_pixels(cells) for head, cells in assembly.cell_dependencies().items()}


def in_pixels(cells: Mapping[str, CellDependency]) -> dict[str, OutputCells]:
    """Cell dependencies in whole pixels."""
    return {
        output: OutputCells(
            int(found.stride),
            {name: (int(low.__floor__()), int(high.__ceil__())) for name, (low, high) in found.reach.items()},
        )
        for output, found in cells.items()
    }


def plain(value: Any) -> Any:
    """Convert for YAML: tuples to lists, whole floats to integers."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
