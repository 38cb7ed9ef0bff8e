"""The figures of `bench cameras`: ratios of the passes, and the command once with the demo's model."""

from __future__ import annotations

import json

import pytest

from edge_app.bench import cameras
from edge_app.bench.cameras import Sample
from edge_app.cli import main


def test_figures_of_several_cameras(monkeypatch: pytest.MonkeyPatch):
    passes = {
        (1, "none"): Sample(10, 5, 100, (300,)),
        (4, "none"): Sample(10, 6, 160, (80, 72, 76, 80)),
        (4, "well"): Sample(10, 6, 160, (100, 100, 100, 100)),
        (4, "hangs"): Sample(10, 6, 160, (100, 98, 100, 3)),
        (4, "floods"): Sample(10, 6, 160, (90, 95, 100, 500)),
        (4, "dies"): Sample(20, 6, 160, (200, 200, 198, 0)),
        (1, "decoders"): Sample(0, 0, 40, (0,)),
        (9, "decoders"): Sample(0, 0, 88, (0,) * 9),
    }
    monkeypatch.setattr(cameras, "_measure", lambda _plan, count, fault: passes[count, fault])
    report = cameras.bench(cameras.Plan("clip", "model"), 1, (1, 4))
    one, four = report.rows
    assert (one.fps, one.ratio, one.fairness, one.further_mb) == (30.0, 1.0, 1.0, None)
    assert (four.fps, four.ratio, four.fairness, four.further_mb) == (30.8, 1.027, 0.9, 20.0)
    assert report.decoder_mb == 6.0
    assert [(row.fault, row.ratio) for row in report.faults] == [("hangs", 0.98), ("floods", 0.9), ("dies", 0.99)]
    assert "further MB" in cameras.as_table(report)
    assert json.loads(cameras.as_json(report))["rows"][1]["cameras"] == 4


def test_a_missing_clip_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "cameras", "missing.mp4", "--counts", "1", "--rounds", "1", "--seconds", "1"]) != 0
    assert "missing.mp4" in capsys.readouterr().err.splitlines()[-1]
