"""The metrics: base units, histograms, and what Prometheus' own parser reads from them."""

from __future__ import annotations

import pytest

from edge_app.pipeline.timing import BOUNDS_S, StageTimer

pytest.importorskip("prometheus_client", reason="needs the extra web")
from prometheus_client.parser import text_string_to_metric_families

from edge_app.web.metrics import render
from tests.web.conftest import STATE

COUNTS = {
    "stages": {"inference": {"buckets": [0, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], "sum_s": 7.5}},
    "bounds_s": BOUNDS_S,
    "events": {"gate": {"new": 4, "end": 3}},
}
FAULTS = {
    "camera": {"code": "camera_lost", "severity": "critical"},
    "load": {"code": "load_reduced", "severity": "warning"},
}


def samples(state=STATE, counts=COUNTS) -> dict[tuple, float]:
    """By the name and the values of the labels, in the order of the labels' names."""
    families = text_string_to_metric_families(render(state, counts).decode())
    return {(s.name, *(s.labels[k] for k in sorted(s.labels))): s.value for family in families for s in family.samples}


def test_sizes_are_bytes_and_times_are_seconds():
    found = samples()
    assert found["edge_app_resident_memory_bytes",] == 50e6
    assert found["edge_app_latency_seconds",] == 0.1
    assert ("edge_app_available_memory_bytes",) not in found, "unknown values are omitted"
    assert not [name for name, *_ in found if "mega" in name or name.endswith("_ms")]


def test_stage_times_are_a_cumulative_histogram():
    found = samples()
    name = "edge_app_stage_duration_seconds"
    assert [found[f"{name}_bucket", le, "inference"] for le in ("0.001", "0.0025", "0.005", "5.0", "+Inf")] == [
        *(0, 2, 5, 5, 6),
    ]
    assert (found[f"{name}_count", "inference"], found[f"{name}_sum", "inference"]) == (6, 7.5)


def test_events_are_counted_by_rule_and_type():
    found = samples()
    assert [found["edge_app_events_total", "gate", type_] for type_ in ("new", "update", "end")] == [4, 0, 3]


def test_open_faults_have_their_code_and_are_counted_by_severity():
    found = samples({**STATE, "faults": FAULTS})
    assert [found["edge_app_faults", s] for s in ("warning", "error", "critical")] == [1, 0, 1]
    assert found["edge_app_fault", "camera_lost", "camera"] == 1
    assert [samples()["edge_app_faults", s] for s in ("warning", "error", "critical")] == [0, 0, 0]


def test_build_info_says_what_runs():
    state = {**STATE, "version": "1.2", "model": "m", "backend": "ncnn 1", "release": {"running": "r7"}}
    assert samples(state)["edge_app_build_info", "ncnn 1", "m", "r7", "1.2"] == 1


def test_clips_are_shown_only_with_clips():
    assert not [name for name, *_ in samples() if "clips" in name]
    clips = {"written": 3, "dropped": 1, "disk_bytes": 9, "memory_bytes": 8}
    assert samples({**STATE, "clips": clips})["edge_app_clips_written_total",] == 3


def test_a_stage_timer_counts_each_call_in_the_bucket_of_its_time():
    timer = StageTimer()
    for milliseconds in (0.5, 1.0, 1.1, 3.0, 7000.0):
        timer.record(round(milliseconds * 1e6))
    buckets = timer.stats().buckets
    assert buckets == (2, 1, 1, *[0] * 9, 1)
    assert len(buckets) == len(BOUNDS_S) + 1


@pytest.mark.parametrize("label", ['a"b', "a\\b", "a\nb", "ü"])
def test_labels_are_escaped(label):
    state = {**STATE, "publish": {**STATE["publish"], "sinks": [{"name": label, "queued": 1, "sent": 2}]}}
    assert samples(state)["edge_app_sink_queued", label] == 1
