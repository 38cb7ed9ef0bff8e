"""The table of boards: names, aliases, detection, and its agreement with the backends and the bundles."""

from __future__ import annotations

import math

import pytest

from edge_app import boards, registry
from edge_app.backends import _soc
from edge_app.compiler import rknn
from edge_app.errors import ConfigError
from edge_app.model import cycles
from tests.boards import published_speeds
from tests.conftest import PROJECT

NPUS = [board for board in boards.all_boards() if board.soc]
NAMES = ("rv1103", "rv1106g2", "rv1106g3", "rv1126b", "rk3562", "rk3566", "rk3568", "rk3576", "rk3588")
RV1106 = ["rockchip,rv1103g-38x38-ipc-v10", "rockchip,rv1106"]


def test_the_table_has_every_board():
    assert tuple(board.name for board in NPUS) == NAMES
    assert [board.name for board in boards.all_boards() if not board.soc] == ["amd64", "arm64", "armhf"]


@pytest.mark.parametrize("board", NPUS, ids=lambda board: board.name)
def test_a_board_agrees_with_the_backends_and_the_converter(board: boards.Board):
    socs = {"rknn_mrt": _soc.SMALL, "rknn_lite": _soc.LARGE}[board.backend]
    assert _soc.target(board.soc.lower().removesuffix("g2").removesuffix("g3"), socs) == board.target
    assert board.target in rknn.TARGETS
    assert board.ram_mb is not None
    assert board.total_kb is not None
    assert board.total_kb <= board.ram_mb * 1024
    assert (board.total_kb < 512 << 10) == (board.backend == "rknn_mrt")


@pytest.mark.parametrize("board", boards.all_boards(), ids=lambda board: board.name)
def test_a_board_names_what_exists(board: boards.Board):
    assert registry.find("backends", board.backend)
    assert (PROJECT / f"firmware_bundle/wheels/{board.wheels}.txt").is_file()
    for name in (board.name, *board.aliases):
        assert boards.find(name) == board, f"{name} is a name of two boards"


@pytest.mark.parametrize(
    ("name", "found"),
    [("Luckfox Pico Max", "rv1106g3"), ("luckfox-pico_max", "rv1106g3"), ("RK3588S", "rk3588"), ("rv1106", "rv1106g2")],
)
def test_case_spaces_and_dashes_do_not_matter(name: str, found: str):
    assert boards.find(name).name == found


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("rk3558", "--board: found 'rk3558'; did you mean 'rk3588'?"),
        ("Luckfox Pico Maxx", "--board: found 'Luckfox Pico Maxx'; did you mean 'Luckfox Pico Max' (rv1106g3)?"),
        ("bbb", "--board: found 'bbb'; expected one of: rv1103, rv1106g2, "),
        ("", "--board: found ''; expected one of: rv1103, "),
    ],
)
def test_an_unknown_board_is_one_line_with_the_nearest(name: str, message: str):
    with pytest.raises(ConfigError) as caught:
        boards.find(name)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "compatible", "machine", "total_kb", "found"),
    [
        ("Luckfox Pico Max", RV1106, "armv7l", None, "rv1106g3"),
        ("Unnamed", RV1106, "armv7l", 186_384, "rv1106g3"),
        ("Unnamed", RV1106, "armv7l", 56_348, "rv1106g2"),
        ("Unnamed", RV1106, "armv7l", None, "rv1106g2"),
        ("Unnamed", ["rockchip,rv1106g3"], "armv7l", 56_348, "rv1106g3"),
        ("Firefly", ["firefly,roc", "rockchip,rk3568"], "aarch64", 4_000_000, "rk3568"),
        ("Rock 5A", ["radxa,rock-5a", "rockchip,rk3588s"], "aarch64", 8_000_000, "rk3588"),
        ("", [], "x86_64", 8_000_000, "amd64"),
        ("Raspberry Pi 4", ["raspberrypi,4-model-b", "brcm,bcm2711"], "aarch64", 4_000_000, "arm64"),
        ("", [], "riscv64", None, None),
        ("Odd", ["rockchip,rk3399"], "aarch64", None, None),
    ],
)
def test_recognizes_a_board_by_its_device_tree(model, compatible, machine, total_kb, found):
    board = boards.detect(model, compatible, machine, total_kb)
    assert (board.name if board else None) == found


def test_targets_may_be_named_by_boards():
    assert boards.targets_of("onnx, Luckfox Pico Max,rk3568,ncnn") == "onnx,rv1106,rk3566,ncnn"
    with pytest.raises(ConfigError, match="--target: found 'rk9999'; expected one of: onnx, int8, ncnn, rv1103"):
        boards.targets_of("onnx,rk9999")


def test_the_time_per_cycle_of_every_board_is_that_of_the_published_figures():
    networks = [network() for network in published_speeds.NETWORKS]
    macs = [round(sum(layer.macs for layer in network) / 1e6) for network in networks]
    assert macs == list(published_speeds.MILLION_MACS)
    for name, frames in published_speeds.PUBLISHED.items():
        board = boards.find(name)
        counted = [cycles.total(network, board.npu_formula) for network in networks]
        times_ns = [1e9 / fps / count for fps, count in zip(frames, counted)]
        mean = math.exp(sum(map(math.log, times_ns)) / len(times_ns))
        assert board.npu_published
        assert board.npu_cycle_ns == pytest.approx(mean, rel=0.005), name
        worst = max(max(times_ns) / mean, mean / min(times_ns))
        assert board.npu_error - 0.06 < worst < board.npu_error, name
    assert {board.name for board in NPUS if board.npu_published} == {*published_speeds.PUBLISHED}
