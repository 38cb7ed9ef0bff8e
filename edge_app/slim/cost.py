"""The work of `edge-app slim cost`: cycles by layer and target, the widths to choose, as a table or as JSON."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_app.model import cycles
from edge_app.model.cycles import LayerCost
from edge_app.slim import layers, widths
from edge_app.slim.layers import Network
from edge_app.slim.widths import WidthAdvice

_NOTE = "Cycles are estimates of the converter's formula, not measured on an NPU"


@dataclass(frozen=True, slots=True)
class TargetCost:
    """The cost of every layer on one target, and the advice for every group of channels."""

    costs: tuple[LayerCost, ...]
    advice: tuple[WidthAdvice, ...]

    @property
    def cycles(self) -> int:
        return sum(cost.cycles for cost in self.costs)


@dataclass(frozen=True, slots=True)
class Report:
    """A network and its cost by target."""

    network: Network
    targets: dict[str, TargetCost]


def report(model: Path, targets: list[str], size: tuple[int, int] | None = None) -> Report:
    """Estimate a model. Raises ConfigError for an unknown target, ModelError if the model cannot be read."""
    for target in targets:
        cycles.npu(target)
    network = layers.read(model, size)
    return Report(
        network,
        {
            target: TargetCost(tuple(cycles.costs(network.layers, target)), tuple(widths.advise(network, target)))
            for target in targets
        },
    )


def as_json(report: Report) -> str:
    """One object: by target the cycles, every layer, and every group of channels."""
    return json.dumps({target: _target_fields(cost, report) for target, cost in report.targets.items()})


def _target_fields(cost: TargetCost, report: Report) -> dict[str, Any]:
    return {
        "cycles": cost.cycles,
        "macs": report.network.macs,
        "parameters": report.network.parameters,
        "layers": [
            {
                "name": each.layer.name, "op": each.layer.op, "kind": each.layer.kind,
                "input": list(each.layer.inputs), "output": list(each.layer.outputs),
                "kernel": list(each.layer.kernel), "cycles": each.cycles, "npu": each.compute, "ddr": each.memory,
                "macs": each.layer.macs, "parameters": each.layer.parameters,
            }
            for each in cost.costs
        ],
        "widths": [
            {
                "layer": each.first, "channels": each.group.channels, "same_up_to": each.same_up_to,
                "better": each.better, "saved": each.saved,
            }
            for each in cost.advice
        ],
    }  # fmt: skip


def as_table(report: Report, top: int) -> str:
    """The most expensive layers and the best widths of each target, `top` rows each."""
    network = report.network
    lines = [f"{network.name}: {network.macs / 1e6:.1f} M MACs, {network.parameters / 1e3:.1f} k parameters"]
    for target, cost in report.targets.items():
        lines += ["", f"{target}: {cost.cycles:,} cycles", "", *_layer_rows(cost, top), "", *_width_rows(cost, top)]
    free = Counter(layer.op for layer in network.layers if layer.kind == "free")
    if free:
        lines += ["", "Estimated at 0: " + ", ".join(f"{op} {n}" for op, n in sorted(free.items()))]
    return "\n".join([*lines, f"{_NOTE}."])


def _layer_rows(cost: TargetCost, top: int) -> list[str]:
    found = sorted(cost.costs, key=lambda each: -each.cycles)[:top]
    rows = [f"{'cycles':>9} {'share':>6} {'bound':<6} {'layer':<32} {'input':>13} {'output':>13} kernel"]
    for each in found:
        layer = each.layer
        bound = "NPU" if each.compute >= each.memory else "memory"
        kind = "depthwise " if layer.kind == "depthwise" else ""
        rows.append(
            f"{each.cycles:>9,} {each.cycles / max(cost.cycles, 1):>6.1%} {bound:<6} {layer.name[:32]:<32}"
            f" {_shape(layer.inputs):>13} {_shape(layer.outputs):>13} {kind}{layer.kernel[0]}x{layer.kernel[1]}"
        )
    return rows


def _width_rows(cost: TargetCost, top: int) -> list[str]:
    found = sorted((each for each in cost.advice if each.better), key=lambda each: -each.saved)[:top]
    if not found:
        return ["No width saves more cycles than it loses channels."]
    rows = [f"{'width':>5} {'better':>6} {'saves':>9} {'share':>6} {'free up to':>10} layers channels of"]
    rows += [
        f"{each.group.channels:>5} {each.better:>6} {each.saved:>9,} {each.saved / cost.cycles:>6.1%}"
        f" {each.same_up_to:>10} {len(each.group.producers):>6} {each.first}"
        for each in found
    ]
    return rows


def _shape(shape: tuple[int, int, int]) -> str:
    return "x".join(map(str, shape))
