"""The plot of `slim cost`: cycles of each layer, in order, one row of bars per target."""

from __future__ import annotations

from pathlib import Path

from edge_app.bench import figures
from edge_app.slim.cost import Report

_COLORS = {"NPU": "#1f77b4", "memory": "#ff7f0e"}


def plot(report: Report, path: Path) -> None:
    """Write a PNG. Raises ConfigError if matplotlib is not installed or the file cannot be written."""
    figure = figures.new_figure(960, 300 * len(report.targets))
    rows = figure.subplots(len(report.targets), 1, squeeze=False)[:, 0]
    for axes, (target, cost) in zip(rows, report.targets.items()):
        shown = [each for each in cost.costs if each.layer.kind != "free"]
        for bound, color in _COLORS.items():
            chosen = [
                (i, each.cycles) for i, each in enumerate(shown) if (each.compute >= each.memory) == (bound == "NPU")
            ]
            axes.bar([i for i, _ in chosen], [cycles for _, cycles in chosen], color=color, label=f"bound by {bound}")
        axes.legend(fontsize=8)
        figures.style(axes, f"{target}: {cost.cycles:,} cycles", "layer, in order", "cycles")
    figure.suptitle(report.network.name, fontsize=10)
    figures.save(figure, path)
