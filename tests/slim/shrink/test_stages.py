"""`slim shrink` from a recipe to a report, with kills and mistakes. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edge_app import cli

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
pytest.importorskip("torch_pruning", reason="the extra `slim` is not installed")
from tests.slim import small  # noqa: E402

pytestmark = pytest.mark.system

CHAIN = """\
target: rv1106
batch: 4
held_out: 0.25
checkpoint_every: 2
steps:
  - {type: sparsify, steps: 2}
  - {type: prune, share: 0.9, rank: gain, steps: 4}
  - {type: distil, steps: 2}
  - {type: qat, steps: 2}
"""


def arguments(folder: Path, out: str, *more: str) -> list[str]:
    paths = ["--recipe", str(folder / "r.yaml"), "--task", str(small.folder() / "classes"), "--out", str(folder / out)]
    return ["slim", "shrink", str(small.folder() / "model"), *paths, *more]


def run(folder: Path, out: str, recipe: str, *more: str) -> int:
    (folder / "r.yaml").write_text(recipe)
    return cli.main(arguments(folder, out, *more))


def weights(path: Path) -> list[np.ndarray]:
    return [numpy_helper.to_array(each) for each in onnx.load(path).graph.initializer]


def test_a_chain_writes_evidence_controls_and_a_model_that_compiles_with_its_ranges(tmp_path, capsys):
    assert run(tmp_path, "out", CHAIN, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row for row in report["stages"]}
    assert list(rows) == ["00-base", "01-sparsify", "02-prune", "03-distil", "04-qat"]
    assert rows["02-prune"]["cycles"]["rv1106"] <= 0.9 * rows["00-base"]["cycles"]["rv1106"]
    controls = {name: [each["name"] for each in row["controls"]] for name, row in rows.items()}
    assert controls["02-prune"] == ["from scratch", "without sparsity"]
    assert controls["03-distil"] == ["without distillation"]
    assert controls["04-qat"] == ["int8 without training"]
    for row in rows.values():
        assert row["int8"]["color"]["held_out"] == row["figures"]["color"]["held_out"] > 5
        assert min(row["ms"].values()) > 0
        assert row["bytes"]["int8"] < row["bytes"]["float"]
    page = (tmp_path / "out" / "report.html").read_text()
    assert "<svg" in page
    assert all(row["verdict"] in page for row in rows.values())
    assert "src=" not in page
    compiled = tmp_path / "compiled"
    images = ["--calibrate", str(small.folder() / "classes" / "red"), "--ranges", str(tmp_path / "out" / "ranges.json")]
    assert cli.main(["compile", str(tmp_path / "out" / "model"), "--out", str(compiled), *images, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["int8"]["method"] == "given ranges"
    assert made["int8"]["float_convolutions"] == []


def test_a_killed_run_resumes_to_the_same_weights(tmp_path, capsys):
    recipe = CHAIN.replace("steps: 4", "steps: 20").replace("target", "controls: false\ntarget")
    assert run(tmp_path, "whole", recipe) == 0
    process = subprocess.Popen(
        [sys.executable, "-m", "edge_app", *arguments(tmp_path, "killed")], stderr=subprocess.DEVNULL
    )
    checkpoint = tmp_path / "killed" / "02-prune" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists()
    assert not (tmp_path / "killed" / "02-prune" / "result.json").exists()
    capsys.readouterr()
    assert cli.main(arguments(tmp_path, "killed")) == 0
    assert "02-prune: resumes after step " in capsys.readouterr().err
    for stage in ("02-prune", "04-qat"):
        first, second = (weights(tmp_path / out / stage / "network.onnx") for out in ("whole", "killed"))
        assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_another_recipe_in_the_same_folder_is_one_line_and_restart_keeps_the_stages_before(tmp_path, capsys):
    short = CHAIN[: CHAIN.index("  - {type: distil")].replace("target", "controls: false\ntarget")
    assert run(tmp_path, "out", short) == 0
    kept = (tmp_path / "out" / "01-sparsify" / "result.json").stat().st_mtime_ns
    changed = short.replace("share: 0.9", "share: 0.95")
    capsys.readouterr()
    assert run(tmp_path, "out", changed) == 2
    assert (
        "02-prune: is of another recipe, model or data; expected another --out, or --restart" in capsys.readouterr().err
    )
    assert run(tmp_path, "out", changed, "--restart") == 0
    assert (tmp_path / "out" / "01-sparsify" / "result.json").stat().st_mtime_ns == kept


def test_a_goal_that_cannot_be_met_names_the_nearest_and_keeps_what_is_done(tmp_path, capsys):
    recipe = "steps:\n  - {type: train, steps: 1}\n  - {type: prune, share: 0.02, steps: 1}\n"
    assert run(tmp_path, "out", recipe) == 2
    assert "reaches it; expected 0." in capsys.readouterr().err
    assert (tmp_path / "out" / "01-train" / "result.json").exists()


def test_a_damaged_stage_is_one_line(tmp_path, capsys):
    recipe = "steps:\n  - {type: train, steps: 1}\n"
    assert run(tmp_path, "out", recipe) == 0
    for name, content in (("result.json", "{"), ("network.onnx", "damaged")):
        path = tmp_path / "out" / "01-train" / name
        before = path.read_bytes()
        path.write_text(content)
        assert run(tmp_path, "out", recipe) == 2
        assert "is damaged" in capsys.readouterr().err
        path.write_bytes(before)


def test_data_with_other_classes_than_the_model_is_one_line(tmp_path, capsys):
    shutil.copytree(small.folder() / "classes", tmp_path / "classes")
    shutil.rmtree(tmp_path / "classes" / "red")
    (tmp_path / "r.yaml").write_text("steps:\n  - {type: train, steps: 1}\n")
    command = ["slim", "shrink", str(small.folder() / "model"), "--recipe", str(tmp_path / "r.yaml")]
    assert cli.main([*command, "--task", str(tmp_path / "classes"), "--out", str(tmp_path / "out")]) == 2
    assert "found no class 'red'; expected one of blue, green" in capsys.readouterr().err


def test_a_task_of_python_that_raises_is_one_line(tmp_path, capsys):
    (tmp_path / "r.yaml").write_text("steps:\n  - {type: train, steps: 1}\n")
    (tmp_path / "task.py").write_text("raise ValueError('no data')\n")
    command = ["slim", "shrink", str(small.folder() / "model"), "--recipe", str(tmp_path / "r.yaml")]
    assert cli.main([*command, "--task", str(tmp_path / "task.py"), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert "task.py: raised ValueError (task.py:1); expected `open_task(model, folder)`" in error
    assert "Traceback" not in error


@pytest.mark.parametrize(
    ("recipe", "expected"),
    [
        ("steps: []\n", "steps: expected a list, each with a type: decompose, distil"),
        ("steps:\n  - {type: prun}\n", "steps[0].type: found 'prun'; did you mean 'prune'?"),
        ("steps:\n  - {type: prune, shar: 1}\n", "steps[0]: unknown option 'shar'; did you mean 'share'?"),
        ("steps:\n  - {type: prune, share: 2}\n", "r.yaml:2: steps[0].share: found '2'; expected a number 0.01 to 1"),
        ("target: rv1103\nsteps:\n  - {type: train}\n", "target: found 'rv1103'; expected rv1106 or rk3588"),
    ],
)
def test_a_mistake_in_the_recipe_is_one_line(tmp_path, capsys, recipe, expected):
    assert run(tmp_path, "out", recipe) == 2
    assert expected in capsys.readouterr().err


def test_three_seeds_are_compared_by_their_spread(tmp_path, capsys):
    recipe = "batch: 4\nheld_out: 0.25\nseeds: 3\nsteps:\n  - {type: distil, steps: 1}\n"
    assert run(tmp_path, "out", recipe, "--json") == 0
    row = json.loads(capsys.readouterr().out)["stages"][1]
    assert len(row["repeated"]) == len(row["controls"][0]["repeated"]) == 3
    assert "spread over 3 seeds" in row["verdict"]
