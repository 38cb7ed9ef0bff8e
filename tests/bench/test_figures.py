"""Plots are PNG files of a fixed size, drawn without a display."""

import sys

import cv2
import pytest

from edge_app.bench import figures, pipeline_plot
from edge_app.bench.pipeline import Report
from edge_app.errors import ConfigError

REPORT = Report(
    clip="a/clip.mp4", model="models/digits", threads=1, precision="float", cores=2, frames=420, fps=118.0,
    baseline_fps=131.0, ratio=0.9, ratio_range=(0.8, 1.0), ceiling=1.2, graph_ms=6.0, busiest_ms=7.0,
    baseline_busiest_ms=8.0, overhead_ms=0.66, baseline_overhead_ms=0.89, overhead_a7_ms=9.9, a7_factor=15,
    peak_rss_mb=114.0, baseline_peak_rss_mb=120.0,
)  # fmt: skip


def test_the_pipeline_plot_is_a_png_of_a_fixed_size(tmp_path):
    path = tmp_path / "new" / "pipeline.png"
    pipeline_plot.plot(REPORT, path)
    assert cv2.imread(str(path)).shape == (320, 640, 3)


def test_the_same_report_gives_the_same_bytes(tmp_path):
    for name in ("a.png", "b.png"):
        pipeline_plot.plot(REPORT, tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_file_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="expected a file that can be written"):
        pipeline_plot.plot(REPORT, tmp_path / "file" / "x.png")


def test_a_missing_library_is_one_line_that_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ConfigError, match=r"pip install 'psutil.*matplotlib"):
        figures.check_available()
