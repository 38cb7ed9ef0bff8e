"""The commands `bench reuse` and `tune`: output, files, and one line for every error."""

from __future__ import annotations

import json

import cv2
import pytest

from edge_app import cli
from tests.conftest import PROJECT

from .scenes import film

CLIP = PROJECT / "models/digits/sample.mp4"
MODEL = PROJECT / "models/digits"
KEYS = {"clip", "speedup", "agreement", "ceiling", "moving_agreement", "worst_frame", "dwell_p99", "share", "controls"}


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    output = capsys.readouterr()
    return code, output.out, output.err


def test_measures_and_plots_every_method(tmp_path, capsys):
    pytest.importorskip("onnx", reason="lower resolution and crops rewrite graphs: pip install edge-app[compiler]")
    picture = tmp_path / "out" / "reuse.png"
    code, out, _ = run(
        capsys, "bench", "reuse", CLIP, "--model", MODEL, "--max-frames", 16, "--json", "--plot", picture
    )
    assert code == 0
    (found,) = json.loads(out)
    assert found.keys() >= KEYS
    assert found["clip"] == "sample.mp4"
    assert found["frames"] == 16
    assert found["controls"].keys() == {"skip_frames", "skip_and_track", "lower_resolution", "motion_crops"}
    assert all(each.keys() >= {"cost", "agreement", "moving_agreement"} for each in found["controls"].values())
    assert found["share"].keys() == {"gate", "heads", "partial", "dense"}
    assert sum(found["share"].values()) == pytest.approx(1, abs=1e-3)
    assert 0.8 < found["ceiling"] <= 1  # two gray levels of noise change little
    assert found["truth"]["full inference"] > 0.8
    assert found["speedup"] > 0
    assert cv2.imread(str(picture)).shape[2] == 3


def test_runs_the_generated_clips_that_are_named(tmp_path, capsys):
    clip = film(tmp_path)
    arguments = ("--stress", "--only", "idle,hard_cut", "--max-frames", 12, "--no-controls", "--mode", "gate")
    code, out, _ = run(capsys, "bench", "reuse", clip, "--model", MODEL, *arguments)
    assert code == 0
    assert "crossing:idle, digits: 12 frames" in out
    assert "crossing:hard_cut" in out
    assert "crossing:sparse" not in out
    assert "mode gate" in out


def test_a_static_scene_costs_almost_nothing(tmp_path, capsys):
    """On a clip that changes only by noise, nearly all frames are answered by the gate."""
    arguments = ("--stress", "--only", "idle", "--max-frames", 24, "--no-controls", "--json")
    _, out, _ = run(capsys, "bench", "reuse", film(tmp_path), "--model", MODEL, *arguments)
    (found,) = json.loads(out)
    assert found["share"]["gate"] > 0.8
    assert found["speedup"] > 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.mp4"], "missing.mp4: no such file; expected a video"),
        (["rtsp://camera/1"], "rtsp://camera/1: found a source of type rtsp; expected a recorded clip"),
        ([CLIP, "--only", "sample.mp5"], "--only: there is no clip 'sample.mp5'; did you mean 'sample.mp4'?"),
        ([CLIP, "--model", "nowhere"], "nowhere/model.yaml"),
    ],
)
def test_an_error_is_one_line(arguments, message, capsys, monkeypatch):
    monkeypatch.chdir(PROJECT)
    code, out, err = run(capsys, "bench", "reuse", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert len(err.strip().splitlines()) == 1


def test_a_plot_that_cannot_be_written_is_one_line(tmp_path, capsys):
    blocked = tmp_path / "file"
    blocked.write_text("")
    arguments = ("--max-frames", 4, "--no-controls", "--plot", blocked / "x.png")
    code, _, err = run(capsys, "bench", "reuse", CLIP, "--model", MODEL, *arguments)
    assert code == 2
    assert err.strip().endswith("expected a file that can be written")
