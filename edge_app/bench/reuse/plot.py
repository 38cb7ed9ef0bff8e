"""The plot of `bench reuse`: one panel per clip, cost of each method against its agreement on moving objects."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edge_app.bench import figures
from edge_app.bench.reuse.report import ClipReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS, _PANEL_PX, _MARGIN_PX = 3, (330, 250), 90
_STYLES = {  # method: label, marker, color
    "reuse": ("reuse", "o", "#d62728"),
    "skip_frames": ("skip frames", "s", "#7f7f7f"),
    "skip_and_track": ("skip frames + tracker", "D", "#2ca02c"),
    "lower_resolution": ("lower resolution", "^", "#1f77b4"),
    "motion_crops": ("motion-gated crops", "X", "#9467bd"),
}


def plot(reports: Sequence[ClipReport], path: Path) -> None:
    """Write a PNG. Raises ConfigError if matplotlib is not installed or the file cannot be written."""
    columns = min(_COLUMNS, len(reports))
    rows = math.ceil(len(reports) / columns)
    figure = figures.new_figure(max(columns, 2) * _PANEL_PX[0], rows * _PANEL_PX[1] + _MARGIN_PX)
    panels = list(figure.subplots(rows, columns, squeeze=False).flat)
    for number, (axes, report) in enumerate(zip(panels, reports)):
        _draw_clip(axes, report)
        lowest = number + columns >= len(reports)
        figures.style(
            axes,
            f"{report.clip}: speed-up {report.speedup:.2f}",
            "cost, as a share of full inference" if lowest else "",
            "F1 of moving objects" if number % columns == 0 else "",
        )
    for axes in panels[len(reports) :]:
        axes.set_axis_off()
    figure.suptitle(f"{reports[0].model}: compute time and agreement of every method", fontsize=11)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    figures.save(figure, path)


def _draw_clip(axes: Axes, report: ClipReport) -> None:
    methods = {"reuse": report.reuse, **report.controls}
    ceiling = report.full.agreement.moving
    for name, score in methods.items():
        label, marker, color = _STYLES[name]
        cost = score.cost_ms / report.full.cost_ms
        front = 4 if name == "reuse" else 3
        axes.plot(cost, score.agreement.moving, marker, color=color, label=label, markersize=7, zorder=front)
    axes.axhline(ceiling, color="#404040", linestyle="--", linewidth=1, label="full inference (ceiling)")
    lowest = min(ceiling, *(score.agreement.moving for score in methods.values()))
    span = max(1 - lowest, 0.05)
    axes.set_ylim(1 - 1.12 * span, 1 + 0.12 * span)
    axes.set_xlim(0, 1.08 * max(1.0, *(score.cost_ms / report.full.cost_ms for score in methods.values())))
