"""Statistics and health of a running pipeline, and the status fields that the heartbeat publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from edge_app.capture import CaptureStats
from edge_app.frame import JsonValue
from edge_app.pipeline.timing import BOUNDS_S, StageStats
from edge_app.publish.publisher import PublishStats


@dataclass(frozen=True, slots=True)
class Stats:
    """Counters since the start.

    frames: published. skipped: not processed because of degradation. rebuilt: times that the backend was rebuilt.
    stages: by name, in pipeline order.
    """

    frames: int
    skipped: int
    rebuilt: int
    capture: CaptureStats
    stages: Mapping[str, StageStats]
    publish: PublishStats


@dataclass(frozen=True, slots=True)
class Health:
    """State of the camera, the model and the rules.

    source: state of the capture stage. backend: name and version of the inference engine. heads, rules: by name,
    whether it is enabled. faults: the open faults (faults.py). rung: the level of degradation (degradation.py).
    """

    source: str
    backend: str
    heads: Mapping[str, bool]
    rules: Mapping[str, bool]
    last_frame_ns: int | None
    faults: Mapping[str, Mapping[str, JsonValue]]
    rung: str


def status_fields(stats: Stats, health: Health, reuse: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The fields of a status message. reuse: statistics of reuse."""
    source, publish = asdict(stats.capture), asdict(stats.publish)
    del source["expected"]  # of a replay, which has no status
    del publish["by_rule"]  # only in metrics_fields
    stages = {name: asdict(stage) for name, stage in stats.stages.items()}
    for stage in stages.values():
        del stage["buckets"]
    return {
        "frames": stats.frames,
        "skipped": stats.skipped,
        "rebuilt": stats.rebuilt,
        "rung": health.rung,
        "faults": {name: dict(value) for name, value in health.faults.items()},
        "source": source,
        "backend": health.backend,
        "heads": dict(health.heads),
        "rules": dict(health.rules),
        "reuse": dict(reuse),
        "stages": stages,
        "publish": publish,
    }


def metrics_fields(stats: Stats) -> dict[str, JsonValue]:
    """What metrics show beyond the status.

    stages: by name, the `buckets` of StageStats and `sum_s`, the time of all calls. bounds_s: of the buckets. events:
    by rule, then by type, the number of events.
    """
    events: dict[str, dict[str, JsonValue]] = {}
    for (rule, type_), number in stats.publish.by_rule.items():
        events.setdefault(rule, {})[type_] = number
    stages: dict[str, JsonValue] = {
        name: {"buckets": stage.buckets, "sum_s": stage.mean_ms * stage.calls / 1000}
        for name, stage in stats.stages.items()
    }
    return {"stages": stages, "bounds_s": BOUNDS_S, "events": events}
