"""The daemon's status as Prometheus metrics. Not here: the status itself (daemon/loop.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

# Computed for a frame: nothing; nothing, with boxes moved; heads only; part of the network; all of it.
_COMPUTED = ("gate", "carried", "heads", "partial", "dense")


def render(state: Mapping[str, Any]) -> bytes:
    """Render the text exposition format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(state))
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    """A custom collector, as prometheus_client defines it."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state, source, publish = self._state, self._state["source"], self._state["publish"]
        counters = (
            ("frames", "Frames that the pipeline processed", state["frames"]),
            ("frames_skipped", "Frames skipped to lower the load", state["skipped"]),
            ("frames_dropped", "Frames replaced by a newer one before inference", source["dropped"]),
            ("camera_failures", "Number of times the camera was lost", source["failures"]),
            ("backend_rebuilds", "Number of times the inference backend was rebuilt", state["rebuilt"]),
            ("messages_lost", "Messages dropped because the queue was full", publish["lost"]),
        )
        for name, text, value in counters:
            yield CounterMetricFamily(f"edge_app_{name}", text, value=value)
        gauges = (
            ("uptime_seconds", "Time since the daemon started", state["uptime_s"]),
            ("camera_up", "1 while the camera delivers frames", float(source["state"] == "running")),
            ("degraded", "1 while the load is reduced", float(state["rung"] != "full")),
            ("faults", "Open faults", len(state["faults"])),
            ("resident_megabytes", "Resident memory of this process", state["resident_mb"]),
            ("available_megabytes", "Available memory", state["available_mb"]),
            ("temperature_celsius", "Temperature of the hottest thermal zone", state["temperature_c"]),
            ("latency_seconds", "Time from capture to results", state["latency_s"]),
        )
        for name, text, value in gauges:
            if value is not None:  # None: unknown on this machine, or not measured yet
                yield GaugeMetricFamily(f"edge_app_{name}", text, value=value)
        messages = CounterMetricFamily("edge_app_messages", "Messages accepted", labels=["kind"])
        for kind in ("results", "events", "statuses"):
            messages.add_metric([kind], publish[kind])
        yield messages
        stages = GaugeMetricFamily("edge_app_stage_seconds", "Recent median time of a stage", labels=["stage"])
        for name, stage in state["stages"].items():
            stages.add_metric([name], stage["p50_ms"] / 1000)
        yield stages
        answers = CounterMetricFamily("edge_app_answers", "Frames by the part that was computed", labels=["answer"])
        for name in _COMPUTED:
            if name in state.get("reuse", {}):
                answers.add_metric([name], state["reuse"][name])
        yield answers
        queued = GaugeMetricFamily("edge_app_sink_queued", "Undelivered messages", labels=["sink"])
        sent = CounterMetricFamily("edge_app_sink_sent", "Messages delivered", labels=["sink"])
        for sink in publish["sinks"]:
            queued.add_metric([sink["name"]], sink["queued"])
            sent.add_metric([sink["name"]], sink["sent"])
        yield queued
        yield sent
        totals = state.get("totals", {"camera": "", "rules": {}})
        counted = CounterMetricFamily("edge_app_counted", "Objects counted", labels=["camera", "rule", "count"])
        for rule, counts in totals["rules"].items():
            for name, count in counts.items():
                counted.add_metric([totals["camera"], rule, name], count["total"])
        yield counted
