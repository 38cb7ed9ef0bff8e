"""Dashboard and alerts: their queries name metrics that exist, and the files are generated from them."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.web.conftest import STATE

pytest.importorskip("prometheus_client", reason="needs the extra web")
from prometheus_client.parser import text_string_to_metric_families

from edge_app.pipeline.timing import BOUNDS_S
from edge_app.web.metrics import render

FOLDER = PROJECT / "firmware_bundle" / "grafana"
COUNTS = {
    "stages": {"inference": {"buckets": [1] * (len(BOUNDS_S) + 1), "sum_s": 1.0}},
    "bounds_s": BOUNDS_S,
    "events": {"gate": {"new": 1}},
}
EVERYTHING = {
    **STATE,
    "available_mb": 5.0,
    "publish": {**STATE["publish"], "stored": 3},
    "faults": {"disk": {"code": "disk_full", "severity": "error"}},
    "clips": {"written": 1, "dropped": 0, "disk_bytes": 1, "memory_bytes": 1},
}


def module(name: str):
    spec = importlib.util.spec_from_file_location(f"grafana_{name}", FOLDER / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    sys.path.insert(0, str(FOLDER))
    try:
        spec.loader.exec_module(loaded)
    finally:
        sys.path.remove(str(FOLDER))
    return loaded


def expressions() -> list[str]:
    queries = module("queries")
    panels = [expr for panel in queries.PANELS for expr in panel.queries.values()]
    return [*panels, *(alert.expr for alert in queries.ALERTS)]


def metrics() -> dict[str, set[str]]:
    """The labels of each published sample."""
    families = text_string_to_metric_families(render(EVERYTHING, COUNTS).decode())
    return {sample.name: set(sample.labels) for family in families for sample in family.samples}


@pytest.mark.parametrize("expr", expressions())
def test_a_query_uses_metrics_and_labels_that_exist(expr):
    published = metrics()
    for name, selector in re.findall(r"\b(edge_app_\w+)(?:\{([^}]*)\})?", expr):
        assert name in published
        labels = set(re.findall(r"(\w+)(?:=~|!=|=)", selector or ""))
        assert labels <= published[name] | {"job", "instance"}
    assert re.search(r"\b(edge_app_\w+|up)\b", expr)


def test_the_alerts_for_prometheus_are_generated():
    """On failure: run firmware_bundle/grafana/generate.py."""
    text = (FOLDER / "prometheus-alerts.yaml").read_text(encoding="utf-8")
    assert text == module("generate").prometheus_alerts()


@pytest.mark.parametrize("name", ["dashboard.json", "grafana-alerts.json"])
def test_the_files_of_grafana_have_every_query(name):
    """tests/system/test_grafana.py generates them again with grafana-foundation-sdk."""
    queries = module("queries")
    found = set(re.findall(r'"expr": ("(?:[^"\\]|\\.)*")', (FOLDER / name).read_text(encoding="utf-8")))
    if name == "dashboard.json":
        expected = [expr for panel in queries.PANELS for expr in panel.queries.values()]
    else:
        expected = [alert.expr for alert in queries.ALERTS]
    assert {json.loads(text) for text in found} == set(expected)


def test_alerts_are_named_once_and_say_which_device():
    alerts = module("queries").ALERTS
    assert len({alert.name for alert in alerts}) == len(alerts)
    assert all("$labels.instance" in alert.summary for alert in alerts)
    assert {alert.severity for alert in alerts} <= {"warning", "error", "critical"}
    assert Path(FOLDER / "README.md").exists()
