"""The manifest of a compiled model, as plain values. Not here: writing it (folder.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from fractions import Fraction
from typing import Any

from edge_app.compiler.assemble import Assembly
from edge_app.compiler.plan import Work
from edge_app.model import manifest as manifests
from edge_app.model.schema import Input, Memory, OutputCells, ReceptiveField, Shaped


def manifest(
    work: Work,
    files: Mapping[str, Mapping[str, str]],
    memory: Mapping[str, Memory],
    shapes: Mapping[str, Shaped],
) -> dict[str, Any]:
    """files: by part (backbone, a head's name, fused), then by target. memory: by file. shapes: by target."""
    assembly = work.assembly
    behind = cells(assembly)
    heads = {}
    for original in work.originals:
        net = assembly.heads[original.name]
        heads[original.name] = {
            "family": original.family.name,
            **({"inputs": [value.name for value in net.inputs]} if assembly.segments else {}),
            "graph": files[original.name],
            **({"cells": {k: asdict(v) for k, v in behind[original.name].items()}} if original.name in behind else {}),
            **({"labels": _plain(original.labels)} if original.labels else {}),
            **({"options": {k: _plain(v) for k, v in original.options.items()}} if original.options else {}),
        }
    written: dict[str, Any] = {"format": manifests.FORMAT, "name": work.plan.out.name, "input": _input_block(work.spec)}
    if assembly.segments:
        written["backbone"] = {
            "graphs": _graphs(work, files),
            "features": [feature.name for feature in assembly.features],
            "extents": {name: asdict(extent) for name, extent in extents(assembly).items()},
        }
    if "fused" in files:
        written["fused"] = files["fused"]
    if memory:
        written["memory"] = {n: {"weights": m.weights, "internal": m.internal} for n, m in memory.items()}
    if shapes:
        written["shapes"] = {target: asdict(shaped) for target, shaped in shapes.items()}
    return {**written, "heads": heads}


def _graphs(work: Work, files: Mapping[str, Mapping[str, str]]) -> list[dict[str, str]]:
    """The backbone's segments; the first one also names the one graph of engines that have no segments."""
    first, *later = [dict(files[work.segment(i)]) for i in range(len(work.assembly.segments))]
    return [{**first, **files.get("backbone", {})}, *later]


def _input_block(spec: Input) -> dict[str, Any]:
    fields = ("width", "height", "color", "layout", "dtype", "mean", "std", "resize", "pad")
    return {name: _plain(getattr(spec, name)) for name in fields}


def extents(assembly: Assembly) -> dict[str, ReceptiveField]:
    """Of every map that leaves a segment and does not depend on the whole picture."""
    found = {}
    for feature in assembly.maps():
        if feature.extent is not None and feature.extent.stride.denominator == 1:
            low, high = feature.extent.low.__floor__(), feature.extent.high.__ceil__()
            channels = int(feature.shape[1] or 0)
            found[feature.name] = ReceptiveField(int(feature.extent.stride), int(low), int(high), channels)
    return found


def cells(assembly: Assembly) -> dict[str, dict[str, OutputCells]]:
    """By head and output, of the heads that can be run on a part of their inputs."""

    def whole(reach: Mapping[str, tuple[Fraction, Fraction]]) -> dict[str, tuple[int, int]]:
        return {name: (int(low.__floor__()), int(high.__ceil__())) for name, (low, high) in reach.items()}

    return {
        head: {output: OutputCells(int(each.stride), whole(each.reach)) for output, each in found.items()}
        for head, found in assembly.cells().items()
    }


def _plain(value: Any) -> Any:
    """A value as YAML has it: tuples as lists, whole floats as integers."""
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value
