"""The commands `bench reuse` and `tune`: output, files, and one line for every error."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from edge_app import cli
from edge_app.bench.tune import Candidate, Trial, choose
from tests.conftest import PROJECT

from .scenes import film

CLIP = PROJECT / "models/digits/sample.mp4"
MODEL = PROJECT / "models/digits"
CONFIG = "device: {{state_dir: {}}}\nsource: {{type: synthetic}}\nmodel: {{path: PROJECT/models/digits}}\n"
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


def trial(name: str, speedup: float, agreement: float = 1.0, moving: float = 1.0, dwell: float = 0.0) -> Trial:
    return Trial(Candidate(name, mode="gate" if name == "gate" else "auto"), speedup, agreement, moving, dwell)


def test_the_fastest_that_loses_next_to_nothing_is_chosen():
    trials = [
        trial("slow", 1.2),
        trial("fast", 1.6, 0.998),
        trial("faster", 2.0, 0.99),
        trial("fastest", 3, moving=0.9),
    ]
    chosen = choose(trials, 1.0, 1.0)
    assert chosen is not None
    assert chosen.candidate.name == "fast"


def test_where_nothing_pays_nothing_is_chosen():
    assert choose([trial("a", 1.0), trial("b", 0.9)], 1.0, 1.0) is None
    assert choose([trial("a", 2.0, dwell=3)], 1.0, 1.0) is None
    assert choose([trial("gate", 0.8), trial("gate", 0.99, 0.9)], 1.0, 1.0) is None


def test_the_gate_stays_for_quieter_hours_where_it_costs_next_to_nothing():
    chosen = choose([trial("gate", 0.97), trial("fast", 1.5, 0.9), trial("slow", 1.01)], 1.0, 1.0)
    assert chosen is not None
    assert chosen.candidate.name == "gate"


def test_tune_writes_its_choice_with_its_evidence(config_file, tmp_path, capsys):
    config = config_file(CONFIG.format(tmp_path / "state"))
    code, out, _ = run(capsys, "tune", CLIP, "-c", config, "--max-frames", 32, "--json")
    assert code == 0
    found = json.loads(out)
    assert Path(found["file"]).parent == tmp_path / "state" / "tune"
    text = Path(found["file"]).read_text(encoding="utf-8")
    assert "verdict: " in text
    assert "ceiling: " in text
    assert found["noise"] is None or f"noise: {found['noise']}"[:9] in text
    assert cv2.imread(found["picture"]).shape == (400, 640, 3)
    assert {each["candidate"]["name"] for each in found["trials"]} >= {"gate"}
    # what was written is what the bench reads
    arguments = ("--max-frames", 8, "--no-controls", "--state", tmp_path / "state")
    assert run(capsys, "bench", "reuse", CLIP, "--model", MODEL, *arguments)[0] == 0


def test_a_clip_too_short_to_tune_on_is_one_line(config_file, tmp_path, capsys):
    config = config_file(CONFIG.format(tmp_path / "state"))
    code, _, err = run(capsys, "tune", film(tmp_path, 6), "-c", config)
    assert code == 2
    assert "found 6 frame(s); expected a clip of at least 30" in err
    assert not (tmp_path / "state").exists()
