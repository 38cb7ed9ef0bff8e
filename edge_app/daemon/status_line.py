"""The status line of the service: one sentence on what runs and what does not."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from edge_app.pipeline import Pipeline
from edge_app.pipeline.degradation import FULL


def status_line(pipelines: Collection[Pipeline], reload_error: str | None) -> str:
    """pipelines: of all cameras, the first one first."""
    first = next(iter(pipelines))
    if len(pipelines) == 1:
        parts = [f"{first.stats().frames} frames", f"camera {first.health().source}", first.health().backend]
        parts += _problems(first)
    else:
        frames = sum(each.stats().frames for each in pipelines)
        working = sum(each.health().source == "running" for each in pipelines)
        parts = [f"{frames} frames", f"{working} of {len(pipelines)} cameras running", first.health().backend]
        parts += [f"{each.config.camera}: {problem}" for each in pipelines for problem in _problems(each)]
    if reload_error:
        parts.append(f"new configuration rejected: {reload_error}")
    return "; ".join(parts)


def _problems(running: Pipeline) -> Iterator[str]:
    health = running.health()
    if health.rung != FULL.name:
        yield health.rung
    for name, value in health.faults.items():
        if name != "load":
            yield f"{name}: {value.get('error', '')}"
