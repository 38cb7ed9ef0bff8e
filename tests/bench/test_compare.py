"""`bench compare`: which figures are compared, how ratios and spread are computed, and what is rejected."""

import json
import sys
from pathlib import Path

import pytest

from edge_app.bench import compare
from edge_app.bench.compare import Plan
from edge_app.errors import ConfigError


def fake_python(folder: Path, name: str, fps: list[float]) -> Path:
    """An interpreter whose `bench` prints the next of these frame rates at each run."""
    path, runs = folder / name, folder / f"{name}.runs"
    probe = json.dumps({"module": "edge_app", "version": "1.0", "folder": f"/opt/{name}/edge_app"})
    path.write_text(
        f"#!{sys.executable}\n"
        "import json, pathlib, sys\n"
        "if sys.argv[1] == '-c':\n"
        f"    print({probe!r})\n"
        "    sys.exit()\n"
        "assert sys.argv[1:4] == ['-m', 'edge_app', 'bench'] and sys.argv[-1] == '--json', sys.argv\n"
        f"runs = pathlib.Path({str(runs)!r})\n"
        "done = int(runs.read_text()) if runs.exists() else 0\n"
        "runs.write_text(str(done + 1))\n"
        f"open({str(folder / 'order')!r}, 'a').write('{name} ')\n"
        f"print(json.dumps({{'clip': 'c', 'fps': {fps}[done], 'overhead_ms': 2.0, 'frames': 20}}))\n"
    )
    path.chmod(0o755)
    return path


def test_two_builds_are_run_in_pairs(tmp_path):
    old = fake_python(tmp_path, "old", [100, 110, 100, 100])
    new = fake_python(tmp_path, "new", [110, 110, 110, 121])
    report = compare.bench(Plan(old, new, ["pipeline", "clip.mp4"], pairs=4))
    change = report.changes["fps"]
    assert (change.old, change.new) == (100, 110)
    assert change.ratio == pytest.approx(1.1)  # of 1.1, 1.0, 1.1, 1.21
    assert change.spread == pytest.approx((1 / 1.1, 1.1), abs=1e-4)  # the median of 1.1, 1.1, 1.0
    assert report.changes.keys() == {"fps", "overhead_ms"}
    assert report.changes["overhead_ms"].ratio == 1
    assert report.omitted == []
    assert json.loads(compare.as_json(report))["changes"]["fps"]["new"] == 110
    assert "fps          " in compare.as_table(report)
    assert "1.100" in compare.as_table(report)


def test_the_order_of_the_builds_alternates(tmp_path):
    old, new = (fake_python(tmp_path, name, [1, 1, 1]) for name in ("old", "new"))
    compare.bench(Plan(old, new, ["pipeline"], pairs=3))
    assert (tmp_path / "order").read_text().split() == ["old", "new", "new", "old", "old", "new"]


def test_figures_of_clips_are_named_by_their_clip():
    report = [
        {"clip": "a.mp4", "speedup": 2, "controls": {"skip_frames": {"agreement": 1}}},
        {"clip": "b", "speedup": 3},
    ]
    assert dict(compare._figures(compare.FIGURES["reuse"], report)) == {"a.mp4: speedup": 2.0, "b: speedup": 3.0}


def test_figures_that_are_not_positive_have_no_ratio():
    runs = [{"fps": 1.0, "overhead_ms": -0.1}] * 3
    assert compare.summarize(runs, runs).keys() == {"fps"}


@pytest.mark.parametrize(
    ("arguments", "pairs", "message"),
    [
        ([], 10, "found '' after --; expected one of pipeline, reuse, outbox"),
        (["track"], 10, "found 'track' after --; expected one of"),
        (["pipeline"], 2, "--pairs: found 2; expected at least 3"),
    ],
)
def test_rejects_what_cannot_be_compared(tmp_path, arguments, pairs, message):
    with pytest.raises(ConfigError, match=message):
        compare.bench(Plan(tmp_path / "old", tmp_path / "new", arguments, pairs))


def test_rejects_an_interpreter_without_edge_app(tmp_path):
    missing = tmp_path / "python"
    with pytest.raises(ConfigError, match="python: No such file or directory; expected a Python interpreter that has"):
        compare.bench(Plan(missing, Path(sys.executable), ["pipeline"]))


def test_rejects_two_interpreters_with_the_same_build(tmp_path):
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    first, second = (fake_python(folder, "python", [1]) for folder in folders)
    with pytest.raises(ConfigError, match=r"both load edge_app from /opt/python/edge_app; expected two builds"):
        compare.bench(Plan(first, second, ["pipeline"]))
