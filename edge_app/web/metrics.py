"""What Prometheus reads: the daemon's state as metrics. Not here: what the state is (daemon.py)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_ANSWERS = ("gate", "carried", "heads", "partial", "dense")  # nothing, boxes moved on, heads, a part of it, all


def render(state: Mapping[str, Any]) -> bytes:
    """The text exposition format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(state))
    text: bytes = generate_latest(registry)
    return text


class _Collector:
    """prometheus_client's seam: something that can be collected."""

    def __init__(self, state: Mapping[str, Any]) -> None:
        self._state = state

    def collect(self) -> Iterable[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        state, source, publish = self._state, self._state["source"], self._state["publish"]
        counters = (
            ("frames", "Frames that went through the pipeline", state["frames"]),
            ("frames_skipped", "Frames left out to do less", state["skipped"]),
            ("frames_dropped", "Frames replaced by a later one before inference", source["dropped"]),
            ("camera_failures", "Times that the camera was lost", source["failures"]),
            ("backend_rebuilds", "Times that the inference backend was built anew", state["rebuilt"]),
            ("messages_lost", "Messages given up for want of room", publish["lost"]),
        )
        for name, text, value in counters:
            yield CounterMetricFamily(f"edge_app_{name}", text, value=value)
        gauges = (
            ("uptime_seconds", "Since the daemon started", state["uptime_s"]),
            ("camera_up", "1 while the camera gives frames", float(source["state"] == "running")),
            ("degraded", "1 while less is done than configured", float(state["rung"] != "full")),
            ("faults", "Faults that are open", len(state["faults"])),
            ("resident_megabytes", "Memory of this process", state["resident_mb"]),
            ("available_megabytes", "Memory that is left", state["available_mb"]),
            ("temperature_celsius", "Of the hottest thermal zone", state["temperature_c"]),
            ("latency_seconds", "From capture to results", state["latency_s"]),
        )
        for name, text, value in gauges:
            if value is not None:  # unknown here, or not yet
                yield GaugeMetricFamily(f"edge_app_{name}", text, value=value)
        messages = CounterMetricFamily("edge_app_messages", "Messages accepted", labels=["kind"])
        for kind in ("results", "events", "statuses"):
            messages.add_metric([kind], publish[kind])
        yield messages
        stages = GaugeMetricFamily("edge_app_stage_seconds", "Time of a stage, recent median", labels=["stage"])
        for name, stage in state["stages"].items():
            stages.add_metric([name], stage["p50_ms"] / 1000)
        yield stages
        answers = CounterMetricFamily("edge_app_answers", "Frames by what was computed anew", labels=["answer"])
        for name in _ANSWERS:
            if name in state.get("reuse", {}):
                answers.add_metric([name], state["reuse"][name])
        yield answers
        queued = GaugeMetricFamily("edge_app_sink_queued", "Messages not delivered yet", labels=["sink"])
        sent = CounterMetricFamily("edge_app_sink_sent", "Messages delivered", labels=["sink"])
        for sink in publish["sinks"]:
            queued.add_metric([sink["name"]], sink["queued"])
            sent.add_metric([sink["name"]], sink["sent"])
        yield queued
        yield sent
