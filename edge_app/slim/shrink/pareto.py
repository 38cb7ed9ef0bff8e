"""The stages of a report as a plot in SVG: cycles against the mean of the figures, with the Pareto front."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

_WIDTH, _HEIGHT, _MARGIN = 760, 340, 60


@dataclass(frozen=True, slots=True)
class Point:
    """A stage or a control. cost: less is better; value: more is better."""

    name: str
    cost: float
    value: float
    control: bool = False


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other one dominates, by cost."""
    found: list[Point] = []
    for point in sorted(points, key=lambda p: (p.cost, -p.value)):
        if not found or point.value > found[-1].value:
            found.append(point)
    return found


def svg(points: Sequence[Point], cost: str, value: str) -> str:
    """The plot. cost, value: the names of the axes."""
    if not points:
        return ""
    low, high = min(p.value for p in points), max(p.value for p in points)
    low, high = low - 0.05 * (high - low or 1), high + 0.05 * (high - low or 1)
    most = max(p.cost for p in points) * 1.05 or 1.0

    def place(point: Point) -> tuple[float, float]:
        x = _MARGIN + point.cost / most * (_WIDTH - 2 * _MARGIN)
        return x, _HEIGHT - _MARGIN - (point.value - low) / (high - low) * (_HEIGHT - 2 * _MARGIN)

    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in map(place, front(points)))
    bottom, right = _HEIGHT - _MARGIN, _WIDTH - _MARGIN
    parts = [
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(value)} over {html.escape(cost)}">',
        f'<path d="M{_MARGIN},{_MARGIN}V{bottom}H{right}" class="axis"/>',
        f'<polyline points="{line}" class="front"/>',
        f'<text x="{right}" y="{_HEIGHT - 12}" text-anchor="end">{html.escape(cost)}, 0 to {most:,.0f}</text>',
        f'<text x="{_MARGIN}" y="{_MARGIN - 14}">{html.escape(value)}, {low:.3f} to {high:.3f}</text>',
    ]
    for point in points:
        x, y = place(point)
        kind = "control" if point.control else "stage"
        name = html.escape(point.name)
        title = f"<title>{name}: {point.value:.4f} at {point.cost:,.0f}</title>"
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}">{title}</circle>')
        parts.append(f'<text x="{x + 8:.1f}" y="{y - 6:.1f}" class="label">{name}</text>')
    return "\n".join([*parts, "</svg>"])
