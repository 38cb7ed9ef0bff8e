"""Whether a stage beats its controls, by the mean of its figures and, with several seeds, their spread."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edge_app.slim.objectives import Figure


def mean(figures: Mapping[str, Figure]) -> float:
    """Of all heads."""
    return sum(figure.value for figure in figures.values()) / max(len(figures), 1)


def compare(own: Sequence[float], control: Sequence[float], name: str) -> str:
    """One line. own, control: means over the heads, by seed."""
    if not own or not control:
        return f"not compared with {name}: nothing held out"
    a, b = sum(own) / len(own), sum(control) / len(control)
    spread = max(max(own) - min(own), max(control) - min(control))
    found = f"{a:.4f} against {b:.4f} {name}"
    if len(own) > 1 or len(control) > 1:
        found += f" (spread over {max(len(own), len(control))} seeds {spread:.4f})"
    if a <= b:
        return f"does not beat its control: {found}"
    if len(own) > 1 and a - b <= spread:
        return f"not beyond the spread: {found}"
    return f"beats its control: {found}" + ("" if len(own) > 1 else "; one seed")
