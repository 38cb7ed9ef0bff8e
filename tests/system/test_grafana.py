"""Dashboard and alerts: promtool checks every query, grafana-foundation-sdk builds the same files.

Debian package: prometheus (promtool). They were not tried in a running Grafana.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.firmware.test_grafana import COUNTS, EVERYTHING, FOLDER, expressions

pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web.metrics import render

pytestmark = pytest.mark.system
needs_promtool = pytest.mark.skipif(not shutil.which("promtool"), reason="needs the Debian package prometheus")


def promtool(*arguments: object, text: str | None = None) -> str:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@needs_promtool
def test_every_query_is_promql(tmp_path: Path):
    rules = [{"record": f"test:query{i}", "expr": expr} for i, expr in enumerate(expressions())]
    file = tmp_path / "queries.yaml"
    file.write_text(json.dumps({"groups": [{"name": "queries", "rules": rules}]}), encoding="utf-8")
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
    assert "SUCCESS" in promtool("check", "rules", FOLDER / "prometheus-alerts.yaml")


@needs_promtool
def test_the_metrics_follow_the_conventions_of_prometheus():
    assert promtool("check", "metrics", text=render(EVERYTHING, COUNTS).decode()) == ""


SERIES = {
    "CameraLost": ("edge_app_camera_up{instance='a'}", "1 0x10"),
    "NoFrames": ("edge_app_frames_total{instance='a'}", "7x20"),
    "DiskFull": ("edge_app_fault{instance='a',name='disk',code='disk_full'}", "1x10"),
    "HeadFailed": ("edge_app_fault{instance='a',name='head:b',code='head_failed'}", "1x10"),
    "MessagesLost": ("edge_app_messages_lost_total{instance='a'}", "0+5x10"),
    "LoadReduced": ("edge_app_degraded{instance='a'}", "1x40"),
    "Hot": ("edge_app_temperature_celsius{instance='a'}", "90x40"),
    "SinkUnreachable": ("edge_app_sink_sent_total{instance='a',sink='mqtt'}", "3x60"),
    "DeviceUnreachable": ("up{instance='a',job='edge-app'}", "0x20"),
}
ALSO = {
    "NoFrames": ("edge_app_camera_up{instance='a'}", "1x20"),
    "SinkUnreachable": ("edge_app_sink_queued{instance='a',sink='mqtt'}", "2x60"),
}


@needs_promtool
@pytest.mark.parametrize("name", SERIES)
def test_an_alert_fires_when_it_should_and_not_before(name, tmp_path):
    alerts = json.loads((FOLDER / "prometheus-alerts.yaml").read_text(encoding="utf-8"))["groups"][0]["rules"]
    (alert,) = [each for each in alerts if each["alert"] == name]
    given = [SERIES[name], *([ALSO[name]] if name in ALSO else [])]
    series = [{"series": series, "values": values} for series, values in given]
    query = f'count(ALERTS{{alertname="{name}",alertstate="firing"}})'
    tests = [
        {
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {"expr": query, "eval_time": "0m", "exp_samples": []},
                {"expr": query, "eval_time": _fires(alert), "exp_samples": [{"labels": "{}", "value": 1}]},
            ],
        }
    ]
    file = tmp_path / "test.yaml"
    rules = [str(FOLDER / "prometheus-alerts.yaml")]
    file.write_text(json.dumps({"rule_files": rules, "evaluation_interval": "1m", "tests": tests}), encoding="utf-8")
    promtool("test", "rules", file)


def _fires(alert: dict) -> str:
    """A time at which it fires: after its own, and after the window of its query."""
    return {"SinkUnreachable": "35m", "NoFrames": "12m"}.get(alert["alert"], f"{int(alert['for'][:-1]) + 3}m")


@pytest.mark.long
def test_grafana_foundation_sdk_builds_the_files(tmp_path):
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    subprocess.run([environment / "bin/pip", "install", "-q", "grafana-foundation-sdk"], check=True, timeout=300)
    subprocess.run([environment / "bin/python", FOLDER / "generate.py", tmp_path], check=True)
    for name in ("dashboard.json", "grafana-alerts.json", "prometheus-alerts.yaml"):
        assert (tmp_path / name).read_text(encoding="utf-8") == (FOLDER / name).read_text(encoding="utf-8")
