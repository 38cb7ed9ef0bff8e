"""edge-app tune: the choice, the files it writes, and one line for every mistake."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest
import yaml

from edge_app import cli
from edge_app.bench.tune import Candidate, Trial, choose
from tests.bench.reuse.scenes import film
from tests.conftest import PROJECT

CLIP = PROJECT / "models/digits/sample.mp4"
MODEL = PROJECT / "models/digits"
WITHOUT_REUSE = "device: {{state_dir: {}}}\nsource: {{type: synthetic}}\nmodel: {{path: PROJECT/models/digits}}\n"
CONFIG = WITHOUT_REUSE + "reuse: {{mode: auto}}\n"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a command."""
    code = cli.main([str(argument) for argument in arguments])
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def trial(name: str, speedup: float, agreement: float = 1.0, moving: float = 1.0, dwell: float = 0.0) -> Trial:
    return Trial(Candidate(name, mode="gate" if name == "gate" else "auto"), speedup, agreement, moving, dwell)


def test_chooses_the_fastest_acceptable_candidate():
    trials = [
        trial("slow", 1.2),
        trial("fast", 1.6, 0.998),
        trial("faster", 2.0, 0.99),
        trial("fastest", 3, moving=0.9),
    ]
    chosen = choose(trials, 1.0, 1.0)
    assert chosen is not None
    assert chosen.candidate.name == "fast"


@pytest.mark.parametrize(
    "trials",
    [
        pytest.param([trial("a", 1.0), trial("b", 0.9)], id="not faster"),
        pytest.param([trial("a", 2.0, dwell=3)], id="new objects reported too late"),
        pytest.param([trial("gate", 0.8), trial("gate", 0.99, 0.9)], id="gate too slow, gate disagrees"),
    ],
)
def test_chooses_nothing_if_no_candidate_is_acceptable(trials):
    assert choose(trials, 1.0, 1.0) is None


def test_chooses_the_gate_if_it_costs_little_and_nothing_is_faster():
    chosen = choose([trial("gate", 0.97), trial("fast", 1.5, 0.9), trial("slow", 1.01)], 1.0, 1.0)
    assert chosen is not None
    assert chosen.candidate.name == "gate"


def test_writes_the_profile_with_evidence_apart_from_the_costs(config_file, tmp_path, capsys):
    config = config_file(CONFIG.format(tmp_path / "state"))
    code, out, _ = run(capsys, "tune", CLIP, "-c", config, "--max-frames", 32, "--json")
    assert code == 0
    report = json.loads(out)
    file = Path(report["file"])
    assert file.parent == tmp_path / "state" / "tune"
    profile = yaml.safe_load(file.read_text(encoding="utf-8"))
    assert profile["verdict"] in ("off", "gate", "auto")
    assert profile["evidence"]["frames"] == 32
    assert "costs" not in profile
    (costs,) = (tmp_path / "state" / "tune" / "costs").glob(f"*/{file.name}")
    assert yaml.safe_load(costs.read_text(encoding="utf-8"))["dense"] > 0
    assert cv2.imread(report["picture"]).shape[2] == 3
    written = [file, costs, Path(report["picture"]), *file.parents[:2]]
    assert [path for path in written if path.stat().st_mode & 0o077] == [], "private to the user"
    assert {each["candidate"]["name"] for each in report["trials"]} >= {"gate"}
    # The bench reads the profile.
    arguments = ("--max-frames", 8, "--no-controls", "--state", tmp_path / "state")
    assert run(capsys, "bench", "reuse", CLIP, "--model", MODEL, *arguments)[0] == 0


def test_keeps_a_profile_measured_on_more_frames_unless_forced(config_file, tmp_path, capsys):
    config = config_file(CONFIG.format(tmp_path / "state"))
    arguments = ("tune", film(tmp_path), "-c", config)
    code, out, _ = run(capsys, *arguments, "--max-frames", 40)
    assert code == 0
    (file,) = (tmp_path / "state" / "tune").glob("*.yaml")
    before = file.read_text(encoding="utf-8")
    code, out, _ = run(capsys, *arguments, "--max-frames", 30)
    assert code == 0
    assert out.splitlines()[-1] == (
        f"{file}: found a profile measured on 40 frames, this run has 30; it is kept, --force replaces it"
    )
    assert file.read_text(encoding="utf-8") == before
    run(capsys, *arguments, "--max-frames", 30, "--force")
    assert yaml.safe_load(file.read_text(encoding="utf-8"))["evidence"]["frames"] == 30


@pytest.mark.parametrize("block", ["", "reuse: {{mode: off}}\n"])
def test_a_configuration_without_reuse_is_one_line(config_file, tmp_path, capsys, block):
    """Nothing would use the result, so nothing is measured."""
    config = config_file((WITHOUT_REUSE + block).format(tmp_path / "state"))
    code, out, err = run(capsys, "tune", CLIP, "-c", config)
    assert (code, out) == (2, "")
    assert len(err.strip().splitlines()) == 1
    assert "found reuse off; expected the block 'reuse: {mode: auto}'" in err


def test_a_clip_that_is_too_short_is_one_line(config_file, tmp_path, capsys):
    config = config_file(CONFIG.format(tmp_path / "state"))
    code, _, err = run(capsys, "tune", film(tmp_path, 6), "-c", config)
    assert code == 2
    assert "found 6 frame(s); expected a clip of at least 30" in err
    assert not (tmp_path / "state").exists()
