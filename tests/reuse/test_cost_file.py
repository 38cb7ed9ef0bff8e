"""Stored costs: one file per machine and model, never used on another machine."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from edge_app.config.reuse import ReuseConfig
from edge_app.errors import ConfigError
from edge_app.model.manifest import load
from edge_app.reuse import cost_file
from edge_app.reuse.costs import Cost, Costs
from tests.reuse.models import SHIPPED, frames, inference, picture

COSTS = Costs(40.0, {"backbone0": Cost(0.1, 8.0), "head digits": Cost(0.05, 2.0)}, 0.2)


class Engine:
    """The part of a backend that machine_key uses."""

    def __init__(self, version: str = "onnxruntime 1.20.1", target: str = "onnx") -> None:
        self.version, self.target = version, target


def machine(root: Path, model: str) -> Path:
    """A file system root of a board with this name."""
    file = root / "proc/device-tree/model"
    file.parent.mkdir(parents=True)
    file.write_bytes(model.encode() + b"\0")
    return root


def test_saved_costs_are_loaded(tmp_path):
    file = tmp_path / "tune" / "costs" / "board" / "x.yaml"
    assert cost_file.load(file) is None
    cost_file.save(file, COSTS)
    assert cost_file.load(file) == COSTS


def test_costs_without_segments_are_loaded(tmp_path):
    cost_file.save(tmp_path / "x.yaml", Costs(40.0, {}))
    assert cost_file.load(tmp_path / "x.yaml") == Costs(40.0, {})


def test_a_damaged_file_is_one_clear_line(tmp_path):
    file = tmp_path / "x.yaml"
    file.write_text("dense: -1\ndetect: 0\nplan: 0\nsegments: {}\n")
    with pytest.raises(ConfigError, match=r"x\.yaml:1: .*dense"):
        cost_file.load(file)


def test_the_machine_key_holds_board_and_engine(tmp_path):
    key = cost_file.machine_key(Engine(), machine(tmp_path, "Radxa ROCK 5B"))
    assert key.endswith("radxa-rock-5b-onnxruntime-1.20.1-onnx")


def test_the_machine_key_falls_back_to_the_cpu_model(tmp_path):
    assert "unknown" in cost_file.machine_key(Engine(), tmp_path)
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor\t: 0\nmodel name\t: Example CPU @ 2.0GHz\nSerial\t: 0123abcd\n")
    key = cost_file.machine_key(Engine(), tmp_path)
    assert "example-cpu-2.0ghz" in key
    assert "0123abcd" not in key


def test_another_board_engine_or_precision_is_another_machine(tmp_path):
    rock, pi = machine(tmp_path / "a", "Radxa ROCK 5B"), machine(tmp_path / "b", "Raspberry Pi 5")
    keys = [
        cost_file.machine_key(Engine(), rock),
        cost_file.machine_key(Engine(), pi),
        cost_file.machine_key(Engine("onnxruntime 1.21.0"), rock),
        cost_file.machine_key(Engine(target="int8"), rock),
    ]
    assert len(set(keys)) == 4


def test_costs_are_measured_once(tmp_path):
    calls = []

    def measure():
        calls.append(1)
        return COSTS

    file = tmp_path / "x.yaml"
    for _ in range(2):
        cost_file.measure_once(file, measure)
    assert len(calls) == 1
    assert cost_file.load(file) == COSTS


@pytest.mark.parametrize(("other_machine", "carried"), [(False, True), (True, False)])
def test_a_device_uses_only_costs_of_its_own_machine(tmp_path, other_machine, carried):
    """With stored costs of 123 ms, frames exceed the budget. With costs of another machine, 20 ms are assumed."""
    with closing(inference(SHIPPED)) as plain:
        key = "another-board" if other_machine else plain.machine
    cost_file.save(cost_file.path(tmp_path, key, load(SHIPPED)), Costs(123.0, {}))
    settings = ReuseConfig(mode="gate", tolerance=0, budget_ms=50)
    with closing(inference(SHIPPED, reuse=settings, state_dir=tmp_path)) as reusing:
        for frame in frames(picture(seed, (320, 320)) for seed in range(6)):
            reusing.infer(frame)
        assert bool(reusing.reuse_stats()["carried"]) == carried
