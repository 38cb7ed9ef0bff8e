"""Plots are PNG files of a fixed size, drawn without a display."""

import sys

import cv2
import pytest

from edge_app.bench import figures, pipeline_plot
from edge_app.bench.pipeline import Report
from edge_app.errors import ConfigError

REPORT = Report("a/clip.mp4", "models/digits", 1, 2, 420, 118.0, 131.0, 0.9, 0.66, 0.89, 9.9, 15, 114.0, 120.0)


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
    with pytest.raises(ConfigError, match=r"pip install 'edge-app\[bench\]'"):
        figures.check_available()
