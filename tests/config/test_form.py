"""The page can edit every option of every rule, and of heads what overrides.yaml may change."""

from __future__ import annotations

from pathlib import Path

from edge_app import config, registry
from edge_app.config.form import editable
from tests import plugins

TEXT = """
source: {type: synthetic, width: 320, height: 240}
model: {path: PROJECT/models/digits}
"""


def test_rules_have_all_their_options_also_those_of_plug_ins(config_file):
    plugins.install()
    found = editable(config.load(config_file(TEXT)))
    assert list(found["rules"]) == registry.names("rules")
    zone, installed = found["rules"]["zone"], found["rules"]["writes_file"]
    assert {"head", "polygon"} == set(zone["required"])
    assert {"enabled", "schedule", "ignore", "anchor", "grace_s", "min_score"} < zone["properties"].keys()
    assert zone["properties"]["dwell_s"]["minimum"] == 0
    assert "name" not in zone["properties"]
    assert "every" in installed["properties"]


def test_heads_have_the_filters_that_fit_their_results(config_file):
    path: Path = config_file(TEXT)
    found = editable(config.load(path))
    detects, classifies = found["heads"]["digits"]["properties"], found["heads"]["scene"]["properties"]
    assert {"score", "labels", "min_area", "max_area", "aspect", "ignore", "schedule"} < detects.keys()
    assert not {"min_area", "ignore"} & classifies.keys()
    assert "priority" not in detects
    assert list(found["source"]["properties"]) == ["mask", "schedule"]
