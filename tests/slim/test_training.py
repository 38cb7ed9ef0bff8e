"""Training with tiny networks, from data to a compiled model. Needs torch: pip install 'edge-app[slim]'."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edge_app import cli
from edge_app.errors import ConfigError
from edge_app.model import manifest
from edge_app.slim import recipe as recipes
from edge_app.slim.data import open_data
from edge_app.slim.recipe import HeadRecipe, InputSize, Recipe
from tests.slim import pictures

torch = pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim import checkpoint, export, layers, training  # noqa: E402
from edge_app.slim.network import Network  # noqa: E402

pytestmark = pytest.mark.system

FOUR_HEADS = """\
backbone: edge
width: 0.5
input: {width: 64, height: 64}
steps: STEPS
batch: 8
rate: 0.005
held_out: 0.25
checkpoint_every: EVERY
heads:
  squares: {task: detect, data: boxes, channels: 32}
  color: {task: classify, data: classes, channels: 32}
  region: {task: segment, data: masks, channels: 16}
  likeness: {task: embed, data: classes, channels: 32, dimensions: 16}
"""


@pytest.fixture
def folder(tmp_path):
    pictures.yolo(tmp_path / "boxes", 24)
    pictures.classes(tmp_path / "classes", 12)
    pictures.masks(tmp_path / "masks", 16)
    return tmp_path


def recipe(folder: Path, steps: int, every: int = 1000, **changes: str) -> Path:
    text = FOUR_HEADS.replace("STEPS", str(steps)).replace("EVERY", str(every))
    for old, new in changes.items():
        text = text.replace(old, new)
    (folder / "r.yaml").write_text(text)
    return folder / "r.yaml"


def train(folder: Path, out: str, *more: str) -> int:
    arguments = [str(folder / "boxes"), "--recipe", str(folder / "r.yaml"), "--out", str(folder / out), *more]
    return cli.main(["slim", "train", *arguments])


def weights(folder: Path, out: str) -> dict[str, np.ndarray]:
    state = torch.load(folder / out / "checkpoint.pt", weights_only=True)
    return {name: value.numpy() for name, value in state["average"].items()}


def test_four_heads_learn_from_four_kinds_of_data_and_compile(folder, capsys):
    recipe(folder, 60)
    assert train(folder, "out", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    found = {name: head["value"] for name, head in report["heads"].items()}
    assert found["color"] >= 0.9
    assert found["likeness"] >= 0.9
    assert found["region"] >= 0.6
    assert found["squares"] >= 0.6
    model = folder / "compiled"
    images = ["--calibrate", str(folder / "boxes" / "images")]
    assert cli.main(["compile", str(folder / "out" / "model"), "--out", str(model), *images]) == 0
    made = manifest.load(model)
    assert {name: head.family for name, head in made.heads.items()} == {
        "squares": "digits", "color": "classify", "region": "segment", "likeness": "embed",
    }  # fmt: skip
    assert made.heads["squares"].labels == ("blue", "red")
    assert cli.main(["slim", "cost", str(folder / "out" / "model"), "--json"]) == 0


def test_a_killed_run_resumes_to_the_same_weights(folder, capsys):
    recipe(folder, 24, every=4)
    assert train(folder, "whole") == 0
    command = [sys.executable, "-m", "edge_app", "slim", "train", str(folder / "boxes")]
    command += ["--recipe", str(folder / "r.yaml"), "--out", str(folder / "killed")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    checkpoint = folder / "killed" / "checkpoint.pt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    step = torch.load(checkpoint, weights_only=True)["step"]
    assert 4 <= step < 24
    capsys.readouterr()
    assert train(folder, "killed") == 0
    assert f"resumes after step {step} of 24" in capsys.readouterr().err
    expected, found = weights(folder, "whole"), weights(folder, "killed")
    assert all(np.array_equal(expected[name], found[name]) for name in expected)


def test_a_run_goes_on_from_another_one_with_fewer_channels(folder, capsys):
    pytest.importorskip("torch_pruning", reason="the extra `slim` is not installed")
    recipe(folder, 3)
    assert train(folder, "first", "--json") == 0
    before = json.loads(capsys.readouterr().out)["cycles"]
    path = recipe(folder, 4)
    path.write_text(path.read_text() + "start: {run: first, share: 0.8, target: rv1106}\n")
    assert train(folder, "second", "--json") == 0
    after = json.loads(capsys.readouterr().out)["cycles"]
    assert after["rv1106"] <= 0.8 * before["rv1106"]
    assert train(folder, "second", "--json") == 0  # resumes with the pruned widths
    assert json.loads(capsys.readouterr().out)["cycles"] == after
    path.write_text(path.read_text().replace("edge", "squeezenet"))
    assert train(folder, "third") == 2
    assert "no pruning of this recipe's network gives" in capsys.readouterr().err


def test_ctrl_c_saves_and_says_how_to_resume(folder):
    recipe(folder, 100_000)
    command = ["env", "--default-signal=INT"]  # a shell's background job ignores it
    command += [sys.executable, "-m", "edge_app", "slim", "train", str(folder / "boxes")]
    command += ["--recipe", str(folder / "r.yaml"), "--out", str(folder / "out")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = next(line for line in process.stderr if line.startswith("train: step"))
        assert " s left" in first
        process.send_signal(signal.SIGINT)
        rest = process.communicate(timeout=60)[1]
    assert process.returncode == 130
    assert "the same command resumes" in rest
    assert "Traceback" not in rest
    assert (folder / "out" / "checkpoint.pt").exists()


def test_a_checkpoint_of_another_recipe_or_a_damaged_one_is_one_line(folder, capsys):
    recipe(folder, 2)
    assert train(folder, "out") == 0
    recipe(folder, 3)
    capsys.readouterr()
    assert train(folder, "out") == 2
    assert "is of another recipe or other data; expected another --out, or --restart" in capsys.readouterr().err
    (folder / "out" / "checkpoint.pt").write_bytes(b"damaged")
    assert train(folder, "out") == 2
    assert "is not a checkpoint, or is damaged" in capsys.readouterr().err
    assert train(folder, "out", "--restart") == 0


def test_a_full_disk_keeps_the_last_checkpoint(folder, capsys):
    recipe(folder, 6, every=2)
    assert train(folder, "out") == 0
    before = (folder / "out" / "checkpoint.pt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    previous = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(ConfigError, match=r"cannot be written: .*; the last checkpoint is kept"):
            checkpoint.save(folder / "out" / "checkpoint.pt", {"step": torch.zeros(10_000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, previous)
    assert (folder / "out" / "checkpoint.pt").read_bytes() == before
    assert not (folder / "out" / "checkpoint.pt.new").exists()


def test_a_loss_that_is_not_finite_names_the_rate(folder):
    made = recipes.load(recipe(folder, 6))
    data = {name: open_data(head.data, head, 0.25) for name, head in made.heads.items()}
    trainer = training.Trainer(training.Run(made, data, folder / "checkpoint.pt"))
    with torch.no_grad():
        next(trainer.network.parameters()).fill_(float("nan"))
    with pytest.raises(ConfigError, match=r"step 1: the loss is nan; expected a finite one: lower `rate`"):
        trainer.train(lambda step, loss: None)
    assert not (folder / "checkpoint.pt").exists()


@pytest.mark.parametrize("backbone", recipes.backbones())
def test_every_backbone_exports_operators_that_the_npus_run(tmp_path, backbone):
    torch.manual_seed(0)
    made = Recipe({"kind": HeadRecipe("classify")}, backbone=backbone, width=0.25, input=InputSize(64, 96))
    network = Network(made, {"kind": ("a", "b")})
    image = torch.zeros(1, 3, 96, 64)
    maps = network.backbone.eval()(image)
    assert [tuple(m.shape) for m in maps] == [
        (1, channels, 96 // stride, 64 // stride) for channels, stride in zip(network.backbone.channels, (8, 16, 32))
    ]
    export.write(network, made, tmp_path / "model", "a")  # compares with torch
    found = layers.read(tmp_path / "model" / "backbone.onnx")
    assert {layer.op for layer in found.layers} <= {"Add", "Clip", "Concat", "Conv", "Gather", "MaxPool"}
