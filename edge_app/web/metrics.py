"""The daemon's state as Prometheus metrics, in base units. Not here: the state itself (daemon/loop.py)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

# Computed for a frame: nothing; nothing, with boxes moved; heads only; part of the network; all of it.
_COMPUTED = ("gate", "carried", "heads", "partial", "dense")
_MB = 1e6
_OF_PROCESS = (  # the same for all cameras
    "uptime_seconds",
    "resident_memory_bytes",
    "available_memory_bytes",
    "temperature_celsius",
    "stored_messages",
    "messages_lost",
    "build_info",
    "sink_queued",
    "sink_sent",
    "sink_failed",
    "sink_refused",
)

State = Mapping[str, Any]
Family = Any  # of prometheus_client


def render(state: State, counts: State) -> bytes:
    """Render the text exposition format, version 0.0.4. counts: see `metrics_fields` in pipeline/health.py."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(state, counts))
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    """A custom collector, as prometheus_client defines it."""

    def __init__(self, state: State, counts: State) -> None:
        self._state, self._counts = state, counts

    def collect(self) -> Iterable[Family]:
        return (
            _of_cameras(self._state, self._counts) if "cameras" in self._state else _of_one(self._state, self._counts)
        )


def _of_one(state: State, counts: State) -> Iterator[Family]:
    for part in (_totals, _gauges, _build, _faults, _sinks, _reuse, _counted, _clips):
        yield from part(state)
    yield from _stages(counts)
    yield from _events(counts)


def _of_cameras(state: State, counts: State) -> Iterator[Family]:
    """The families of one camera, with the samples of all. The label `camera` says whose they are."""
    families: dict[str, Family] = {}
    for camera, own in state["cameras"].items():
        for family in _of_one({**state, **own}, counts.get("cameras", {}).get(camera, {})):
            if family.name.removeprefix("edge_app_") in _OF_PROCESS:
                families.setdefault(family.name, family)
                continue
            samples = [each._replace(labels={"camera": camera, **each.labels}) for each in family.samples]
            families.setdefault(family.name, family)
            if families[family.name] is family:
                family.samples = samples
            else:
                families[family.name].samples += samples
    yield from families.values()


def _counter(name: str, text: str, **arguments: Any) -> Family:
    from prometheus_client.core import CounterMetricFamily

    return CounterMetricFamily(f"edge_app_{name}", text, **arguments)


def _gauge(name: str, text: str, **arguments: Any) -> Family:
    from prometheus_client.core import GaugeMetricFamily

    return GaugeMetricFamily(f"edge_app_{name}", text, **arguments)


def _totals(state: State) -> Iterator[Family]:
    source, publish = state["source"], state["publish"]
    yield _counter("frames", "Frames that the pipeline processed", value=state["frames"])
    yield _counter("frames_skipped", "Frames skipped to lower the load", value=state["skipped"])
    yield _counter("frames_dropped", "Frames replaced by a newer one before inference", value=source["dropped"])
    yield _counter("camera_failures", "Number of times the camera was lost", value=source["failures"])
    yield _counter("backend_rebuilds", "Number of times the inference backend was rebuilt", value=state["rebuilt"])
    yield _counter("messages_lost", "Messages dropped because the queue was full", value=publish["lost"])
    messages = _counter("messages", "Messages accepted", labels=["kind"])
    for kind in ("results", "events", "statuses"):
        messages.add_metric([kind], publish[kind])
    yield messages


def _gauges(state: State) -> Iterator[Family]:
    values = (
        ("uptime_seconds", "Time since the daemon started", state["uptime_s"], 1),
        ("camera_up", "1 while the camera delivers frames", float(state["source"]["state"] == "running"), 1),
        ("degraded", "1 while the load is reduced", float(state["rung"] != "full"), 1),
        ("resident_memory_bytes", "Resident memory of this process", state["resident_mb"], _MB),
        ("available_memory_bytes", "Memory that can still be allocated", state["available_mb"], _MB),
        ("temperature_celsius", "Temperature of the hottest thermal zone", state["temperature_c"], 1),
        ("latency_seconds", "Time from capture to results, moving average", state["latency_s"], 1),
        ("stored_messages", "Undelivered messages on disk", state["publish"].get("stored"), 1),
    )
    for name, text, value, unit in values:
        if value is not None:  # None: unknown on this machine, or not measured yet
            yield _gauge(name, text, value=value * unit)


def _build(state: State) -> Iterator[Family]:
    release = state.get("release") or {}
    labels = {
        "version": state.get("version"),
        "model": state.get("model"),
        "backend": state.get("backend"),
        "release": release.get("running"),
    }
    info = _gauge("build_info", "1; the labels say what runs", labels=list(labels))
    info.add_metric([value or "" for value in labels.values()], 1)
    yield info


def _faults(state: State) -> Iterator[Family]:
    """The number of open faults, by severity; those without faults as well, so that an alert ends."""
    faults = _gauge("faults", "Open faults", labels=["severity"])
    for severity in ("warning", "error", "critical"):
        severities = [fault.get("severity", "error") for fault in state["faults"].values()]
        faults.add_metric([severity], severities.count(severity))
    yield faults
    fault = _gauge("fault", "1 for each open fault", labels=["name", "code"])
    for name, value in state["faults"].items():
        fault.add_metric([name, value.get("code", "")], 1)
    yield fault


def _sinks(state: State) -> Iterator[Family]:
    queued = _gauge("sink_queued", "Undelivered messages", labels=["sink"])
    counters = {
        name: _counter(f"sink_{name}", text, labels=["sink"])
        for name, text in (
            ("sent", "Messages delivered"),
            ("failed", "Failed attempts to deliver"),
            ("refused", "Messages that the sink will never accept"),
        )
    }
    for sink in state["publish"]["sinks"]:
        queued.add_metric([sink["name"]], sink["queued"])
        for name, family in counters.items():
            family.add_metric([sink["name"]], sink.get(name, 0))
    yield queued
    yield from counters.values()


def _reuse(state: State) -> Iterator[Family]:
    answers = _counter("answers", "Frames by the part that was computed", labels=["answer"])
    for name in _COMPUTED:
        if name in state.get("reuse", {}):
            answers.add_metric([name], state["reuse"][name])
    yield answers


def _counted(state: State) -> Iterator[Family]:
    totals = state.get("totals", {"camera": "", "rules": {}})
    counted = _counter("counted", "Objects counted", labels=["camera", "rule", "count"])
    for rule, counts in totals["rules"].items():
        for name, count in counts.items():
            counted.add_metric([totals["camera"], rule, name], count["total"])
    yield counted


def _clips(state: State) -> Iterator[Family]:
    clips = state.get("clips")
    if clips:
        yield _counter("clips_written", "Event clips written", value=clips["written"])
        yield _counter("clips_dropped", "Event clips that were not written", value=clips["dropped"])
        yield _gauge("clips_disk_bytes", "Event clips on disk", value=clips["disk_bytes"])
        yield _gauge("clips_memory_bytes", "Images of event clips in memory", value=clips["memory_bytes"])


def _stages(counts: State) -> Iterator[Family]:
    from prometheus_client.core import HistogramMetricFamily

    stages = HistogramMetricFamily("edge_app_stage_duration_seconds", "Time of a stage for a frame", labels=["stage"])
    for name, stage in counts.get("stages", {}).items():
        cumulative = list(accumulate(stage["buckets"]))
        bounds = [*(str(bound) for bound in counts["bounds_s"]), "+Inf"]
        stages.add_metric([name], buckets=list(zip(bounds, cumulative)), sum_value=stage["sum_s"])
    yield stages


def _events(counts: State) -> Iterator[Family]:
    events = _counter("events", "Events of a rule", labels=["rule", "type"])
    for rule, types in counts.get("events", {}).items():
        for type_ in ("new", "update", "end"):
            events.add_metric([rule, type_], types.get(type_, 0))
    yield events
