"""Write dashboard.json, grafana-alerts.json and prometheus-alerts.yaml from queries.py. Runs on a host only.

    pip install grafana-foundation-sdk && python3 firmware_bundle/grafana/generate.py [FOLDER]

grafana-foundation-sdk builds the dashboard and the rules from Grafana's own schemas. The files were not tried in a
running Grafana; promtool checks every query (tests/system/test_grafana.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from queries import ALERTS, PANELS, Alert, Panel

SOURCE = "prometheus"  # the uid of the data source in Grafana
_WIDTH, _HEIGHT = 12, 8  # of a panel; the dashboard is 24 wide


def dashboard() -> str:
    """The dashboard as JSON."""
    from grafana_foundation_sdk.builders import dashboard as builders
    from grafana_foundation_sdk.cog.encoder import JSONEncoder
    from grafana_foundation_sdk.models.dashboard import DataSourceRef

    board = builders.Dashboard("edge_app cameras").uid("edge-app").tags(["edge-app"]).refresh("30s")
    board = board.time("now-6h", "now").timezone("browser").readonly()
    camera = builders.QueryVariable("camera").query('label_values(edge_app_uptime_seconds{job="edge-app"}, instance)')
    camera = camera.datasource(DataSourceRef(type_val="prometheus", uid=SOURCE)).multi(True).include_all(True)
    board = board.with_variable(camera)
    for number, panel in enumerate(PANELS):
        board = board.with_panel(_plot(panel, number))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(board.build())}\n"


def _plot(panel: Panel, number: int) -> Any:
    from grafana_foundation_sdk.builders import prometheus, timeseries
    from grafana_foundation_sdk.models.dashboard import DataSourceRef, GridPos

    place = GridPos(h=_HEIGHT, w=_WIDTH, x=_WIDTH * (number % 2), y=_HEIGHT * (number // 2))
    plot = timeseries.Panel().title(panel.title).unit(panel.unit).min(0).grid_pos(place)
    plot = plot.datasource(DataSourceRef(type_val="prometheus", uid=SOURCE))
    for letter, (legend, expr) in zip("ABCD", panel.queries.items()):
        plot = plot.with_target(prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(letter))
    return plot


def grafana_alerts() -> str:
    """The alert rules in the format of Grafana's provisioning, as JSON."""
    from grafana_foundation_sdk.builders import alerting
    from grafana_foundation_sdk.cog.encoder import JSONEncoder

    group = alerting.RuleGroup("edge-app").folder_uid("edge-app").interval(60)
    for alert in ALERTS:
        group = group.with_rule(_rule(alert))
    return f"{JSONEncoder(sort_keys=True, indent=2).encode(group.build())}\n"


def _rule(alert: Alert) -> Any:
    """A rule: the query A, and a condition that is met by any value it returns."""
    from grafana_foundation_sdk.builders import alerting, expr, prometheus

    query = prometheus.Dataquery().expr(alert.expr).instant().ref_id("A")
    any_value = expr.TypeMath().expression("is_number($A)").ref_id("B")  # true for 0 as well
    rule = alerting.Rule(alert.name).uid(f"edge-app-{alert.name}").rule_group("edge-app").folder_uid("edge-app")
    rule = rule.condition("B").for_val(f"{alert.minutes}m").labels({"severity": alert.severity})
    rule = rule.annotations({"summary": alert.summary})
    rule = rule.no_data_state("OK").exec_err_state("Error")
    rule = rule.with_query(_query("A", SOURCE, query))
    return rule.with_query(_query("B", "__expr__", any_value))


def _query(letter: str, source: str, model: Any) -> Any:
    from grafana_foundation_sdk.builders import alerting
    from grafana_foundation_sdk.models.alerting import RelativeTimeRange

    return alerting.Query(letter).datasource_uid(source).model(model).relative_time_range(RelativeTimeRange(600, 0))


def prometheus_alerts() -> str:
    """The same rules in Prometheus' own format, for its Alertmanager."""
    rules = [
        {
            "alert": alert.name,
            "expr": alert.expr,
            "for": f"{alert.minutes}m",
            "labels": {"severity": alert.severity},
            "annotations": {"summary": alert.summary},
        }
        for alert in ALERTS
    ]
    return json.dumps({"groups": [{"name": "edge-app", "rules": rules}]}, indent=2) + "\n"  # JSON is YAML


def main() -> None:
    """Write the three files beside this one, or into the folder that is named."""
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent
    texts = {
        "dashboard.json": dashboard(),
        "grafana-alerts.json": grafana_alerts(),
        "prometheus-alerts.yaml": prometheus_alerts(),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
