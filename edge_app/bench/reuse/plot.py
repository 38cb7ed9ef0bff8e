"""The picture of `bench reuse`: for every clip, what each method costs and how well it sees what moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from edge_app.bench.chart import FAINT, Axis, Canvas, Color, Mark, Panel
from edge_app.bench.reuse.report import ClipReport

_COLUMNS, _PANEL, _HEAD = 3, (300, 220), 56
_LOOK: dict[str, tuple[Mark, Color]] = {
    "reuse": ("disc", (40, 90, 220)),
    "skip_frames": ("square", (150, 150, 150)),
    "skip_and_track": ("diamond", (60, 160, 60)),
    "lower_resolution": ("triangle", (200, 130, 40)),
    "motion_crops": ("cross", (170, 60, 170)),
}
_NAMES = {"skip_and_track": "skip frames + tracker", "motion_crops": "motion-gated crops"}


def plot(reports: Sequence[ClipReport], path: Path) -> None:
    """Write a PNG. Raises ConfigError where the file cannot be written."""
    columns = min(_COLUMNS, len(reports))
    rows = math.ceil(len(reports) / columns)
    width = max(columns * _PANEL[0], 2 * _PANEL[0])
    canvas = Canvas(width, _HEAD + rows * _PANEL[1])
    title = "agreement of moving objects (F1), by cost in shares of full inference"
    canvas.words(f"{reports[0].model}: {title}", (10, 20), size=0.44)
    _legend(canvas, width)
    for number, report in enumerate(reports):
        row, column = divmod(number, columns)
        _clip(canvas, (column * _PANEL[0], _HEAD + row * _PANEL[1]), report)
    canvas.save(path)


def _legend(canvas: Canvas, width: int) -> None:
    step = (width - 20) / len(_LOOK)
    for number, (name, (mark, color)) in enumerate(_LOOK.items()):
        x = 16 + number * step
        canvas.mark(mark, (x, 40), color)
        canvas.words(_NAMES.get(name, name.replace("_", " ")), (x + 9, 44), size=0.34)


def _clip(canvas: Canvas, at: tuple[int, int], report: ClipReport) -> None:
    found = {"reuse": report.reuse, **report.controls}
    ceiling = report.full.agreement.moving
    least = min(ceiling, *(each.agreement.moving for each in found.values()))
    low = max(0.0, math.floor(least * 10 - 0.5) / 10)
    ticks = [round(low + i * (1 - low) / 4, 3) for i in range(5)]
    most = max(1.0, *(each.cost_ms / report.full.cost_ms for each in found.values()))
    panel = Panel(
        canvas,
        (*at, at[0] + _PANEL[0], at[1] + _PANEL[1]),
        Axis(0, most * 1.05, (0, 0.25, 0.5, 0.75, 1), ""),
        Axis(low, 1.0 + (1 - low) * 0.08, ticks, ""),
        f"{report.clip}  {report.speedup:.2f}x",
    )
    panel.level(ceiling, tuple(part - 60 for part in FAINT), "ceiling")  # type: ignore[arg-type]  # three numbers
    for name, each in reversed(found.items()):  # reuse last, on top
        panel.point((each.cost_ms / report.full.cost_ms, each.agreement.moving), *_LOOK[name])
