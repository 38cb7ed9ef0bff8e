"""The estimate of frames per second of a board and a model."""

from __future__ import annotations

import pytest

from edge_app import boards
from edge_app.cli import speed
from edge_app.model import cycles
from edge_app.slim import layers
from tests.conftest import PROJECT

MODEL = PROJECT / "models/digits"


@pytest.mark.parametrize("name", ["rk3588", "rk3566", "rv1106g3"])
def test_the_estimate_is_the_cycles_of_the_model_times_the_boards_time_per_cycle(name):
    board = boards.find(name)
    total = cycles.total(layers.read(MODEL).layers, board.npu_formula)
    (finding,) = speed.check(MODEL, board)
    expected = 1e9 / (total * board.npu_cycle_ns)
    assert finding.verdict == "ok"
    assert f"estimated: {expected:,.0f} frames/s ({expected / board.npu_error:,.0f} to " in finding.text
    assert f"{total / 1e6:.2f} million cycles" in finding.text
    assert ("rknn_model_zoo" in finding.text) == board.npu_published


def test_twice_the_cycles_give_half_the_frames():
    board = boards.find("rk3588")
    one, two = speed.estimate(1_000_000, board), speed.estimate(2_000_000, board)
    assert one.fps == pytest.approx(2 * two.fps)
    assert one.low < one.fps < one.high


def test_a_board_without_a_published_figure_has_no_estimate_and_a_machine_without_npu_no_finding(tmp_path):
    (finding,) = speed.check(MODEL, boards.find("rv1126b"))
    assert (finding.verdict, "no published figure" in finding.text) == ("absent", True)
    assert list(speed.check(MODEL, boards.find("amd64"))) == []
    (finding,) = speed.check(tmp_path, boards.find("rk3588"))
    assert (finding.verdict, "not estimated: " in finding.text) == ("absent", True)
