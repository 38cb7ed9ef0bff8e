"""The report of a run as one HTML page that loads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from edge_app.slim.shrink import pareto
from edge_app.slim.shrink.pareto import Point

_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2rem auto; max-width: 1100px; padding: 0 1rem; }
body { color: #1b1b1b; background: #fff; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: right; padding: 4px 8px; border-bottom: 1px solid #ddd; vertical-align: top; }
th:first-child, td:first-child, td.text { text-align: left; }
svg { width: 100%; height: auto; } svg text { font: 12px system-ui, sans-serif; fill: #444; }
.axis { fill: none; stroke: #888; } .front { fill: none; stroke: #06c; stroke-dasharray: 4; }
.stage { fill: #06c; } .control { fill: #fff; stroke: #c50; stroke-width: 2; }
@media (prefers-color-scheme: dark) { body { color: #ddd; background: #161616; } svg text { fill: #bbb; } }
"""


def html(report: dict[str, Any]) -> str:
    """The page. report: as report.json."""
    target, rows = report["target"], report["stages"]
    title = f"{escape(report['model'])} on {escape(target)}"
    plot = pareto.svg(points(report), f"{target} cycles", "mean figure, float, held out")
    return "\n".join(
        [
            f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>',
            f"<style>{_STYLE}</style></head><body><h1>{title}</h1>",
            f"<p>Figures are on data that chose nothing. {escape(report['note'].capitalize())}.</p>",
            plot,
            "<h2>Stages</h2>",
            _stages(rows),
            "<h2>Comparisons</h2>",
            _comparisons(rows),
            "</body></html>",
        ]
    )


def points(report: dict[str, Any]) -> list[Point]:
    """Every stage and control with held-out figures."""
    target, found = report["target"], []
    for row in report["stages"]:
        if "float" in row["repeated"][0]:
            found.append(Point(row["name"], row["cycles"][target], row["repeated"][0]["float"]))
        for control in row["controls"]:
            if "float" in control["repeated"][0]:
                name = f"{row['name']}, {control['name']}"
                found.append(Point(name, control["cycles"][target], control["repeated"][0]["float"], control=True))
    return found


def _stages(rows: Sequence[dict[str, Any]]) -> str:
    targets = list(rows[0]["cycles"])
    heads = list(rows[0]["figures"])
    head = ["stage", "steps", "s"]
    head += [f"{name}, {kind}" for name in heads for kind in ("float", "int8")]
    head += [*(f"{target} cycles" for target in targets), "M MACs", "k parameters", "KB float", "KB int8"]
    head += ["KB compressed", "ms base", "ms float", "ms int8", "KB on the NPU"]
    lines = [_row([escape(text) for text in head], "th")]
    for row in rows:
        cells = [escape(row["name"]), f"{row['steps']:,}", f"{row['seconds']:.0f}"]
        cells += [_figure(row[kind], name) for name in heads for kind in ("figures", "int8")]
        cells += [f"{row['cycles'][target]:,}" for target in targets]
        cells += [f"{row['macs'] / 1e6:.2f}", f"{row['parameters'] / 1e3:.1f}"]
        cells += [_number(row["bytes"], kind, 1e-3, 0) for kind in ("float", "int8", "compressed")]
        cells += [_number(row["ms"], kind, 1, 2) for kind in ("base", "float", "int8")]
        lines.append(_row([*cells, f"{row['npu_bytes'] / 1e3:,.0f}"]))
    return f"<table>{''.join(lines)}</table>"


def _comparisons(rows: Sequence[dict[str, Any]]) -> str:
    lines = [_row(["stage", "control", "steps", "figures"], "th")]
    for row in rows:
        for control in row["controls"]:
            figures = ", ".join(f"{name} {each['value']:.4f}" for name, each in control["figures"].items())
            lines.append(_row([escape(row["name"]), escape(control["name"]), str(control["steps"]), escape(figures)]))
        text = "; ".join(filter(None, [row["verdict"], *row["notes"]]))
        if text:
            lines.append(f'<tr><td>{escape(row["name"])}</td><td class="text" colspan="3">{escape(text)}</td></tr>')
    return f"<table>{''.join(lines)}</table>"


def _row(cells: Sequence[str], tag: str = "td") -> str:
    return "<tr>" + "".join(f"<{tag}>{cell}</{tag}>" for cell in cells) + "</tr>"


def _figure(figures: dict[str, Any], head: str) -> str:
    return f"{figures[head]['value']:.4f}" if head in figures else "-"


def _number(values: dict[str, float], name: str, factor: float, digits: int) -> str:
    return f"{values[name] * factor:,.{digits}f}" if name in values else "-"
