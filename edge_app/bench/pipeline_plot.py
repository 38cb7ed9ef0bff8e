"""The plot of `bench pipeline`: frames per second and CPU time of edge-app and of the plain loop."""

from __future__ import annotations

from pathlib import Path

from edge_app.bench import figures
from edge_app.bench.pipeline import Report

_NAMES, _COLORS = ("edge-app", "plain loop"), ("#d62728", "#7f7f7f")


def plot(report: Report, path: Path) -> None:
    """Write a PNG. Raises ConfigError if matplotlib is not installed or the file cannot be written."""
    figure = figures.new_figure(640, 320)
    for axes, title, unit, values in zip(
        figure.subplots(1, 2),
        ("Throughput", "CPU time excluding decoding and inference"),
        ("frames per second", "milliseconds per frame"),
        ((report.fps, report.baseline_fps), (report.overhead_ms, report.baseline_overhead_ms)),
    ):
        bars = axes.bar(_NAMES, values, color=_COLORS, width=0.6)
        axes.bar_label(bars, fmt="%.4g", fontsize=8)
        axes.margins(y=0.15)
        figures.style(axes, title, y_label=unit)
    figure.suptitle(f"{Path(report.clip).name}, {Path(report.model).name}: {report.frames} frames", fontsize=10)
    figures.save(figure, path)
