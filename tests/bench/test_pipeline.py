"""`bench pipeline`: its report, and clips and models that it rejects. What the figures say is not tested."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from edge_app.bench import pipeline
from edge_app.bench.pipeline import Plan, Sample
from edge_app.errors import ClipError, ModelError
from tests.conftest import PROJECT

DIGITS = PROJECT / "models/digits"


def sample(frames: int, wall_ms: float, cpu_ms: float, busiest_ms: float, peak_mb: float) -> Sample:
    return Sample(frames, frames * wall_ms / 1e3, frames * cpu_ms / 1e3, frames * busiest_ms / 1e3, peak_mb)


def test_the_report_has_medians_of_paired_ratios_and_the_ceiling():
    report = pipeline.summarize(
        Plan(DIGITS / "sample.mp4", DIGITS),
        plain=[sample(10, wall, 9, 9, 100) for wall in (12, 24, 9)],
        runtime=[sample(10, wall, 8, 6, peak) for wall, peak in ((10, 110), (10, 90), (10, 105))],
        bare=[sample(10, 8, 7, 7, 80)] * 3,
        graph=[sample(5, 6, 6, 6, 70)] * 3,
    )
    assert (report.ratio, report.ratio_range) == (1.2, (0.9, 2.4))
    assert (report.ceiling, report.graph_ms) == (2.0, 6)
    assert (report.busiest_ms, report.baseline_busiest_ms) == (6, 9)
    assert (report.overhead_ms, report.baseline_overhead_ms) == (1, 2)
    assert (report.peak_rss_mb, report.baseline_peak_rss_mb) == (110, 100)
    table = pipeline.as_table(report)
    assert "ceiling, plain loop / graphs alone: 2.00" in table
    assert "0.90 to 2.40 in the rounds" in table


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_measures_a_folder_of_images(tmp_path, precision):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((48, 64, 3), 40 * number, np.uint8))
    report = pipeline.bench(Plan(tmp_path, DIGITS, precision=precision), rounds=1)
    assert report.frames == 3
    assert report.precision == precision
    assert min(report.fps, report.baseline_fps, report.ceiling, report.busiest_ms) > 0
    assert json.loads(pipeline.as_json(report))["ceiling"] == report.ceiling


def test_rejects_a_folder_without_images_and_a_model_without_int8_graphs(tmp_path):
    with pytest.raises((ClipError, ModelError), match="image"):
        pipeline.bench(Plan(tmp_path, DIGITS), rounds=1)
    folder = tmp_path / "model"
    shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("sample*", "golden*", "*.rknn", "*.int8.*"))
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace("int8:", "other:"), encoding="utf-8")
    with pytest.raises(ModelError, match="int8"):
        pipeline.bench(Plan(DIGITS / "sample.mp4", folder, max_frames=2, precision="int8"), rounds=1)
