from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from edge_app import cli
from tests.compiler.graphs import classifier

PROJECT = Path(__file__).parent.parent.parent
DIGITS = PROJECT / "models" / "digits"


def test_digits_costs_what_the_converter_says(capsys):
    """The totals of the converter's table for models/digits; see tests/system/test_slim_converter.py."""
    assert cli.main(["slim", "cost", str(DIGITS), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["rv1106"]["cycles"] == pytest.approx(2_360_197, rel=0.002)
    assert found["rk3588"]["cycles"] == pytest.approx(1_363_827, rel=0.002)
    stem = next(layer for layer in found["rv1106"]["layers"] if layer["op"] == "Conv")
    assert (stem["cycles"], stem["input"], stem["output"]) == (230_400, [3, 320, 320], [16, 160, 160])
    assert {width["better"] for width in found["rv1106"]["widths"] if width["channels"] == 72} == {64}


def test_prints_a_table_and_plots(tmp_path, capsys):
    path, plot = classifier(tmp_path / "a.onnx"), tmp_path / "plots" / "a.png"
    assert cli.main(["slim", "cost", str(path), "--target", "rk3588", "--top", "2", "--plot", str(plot)]) == 0
    printed = capsys.readouterr().out
    assert "rk3588: " in printed
    assert "rv1106" not in printed
    assert sum("3x3" in line for line in printed.splitlines()) == 2
    assert "Estimated at 0: Add 2" in printed
    assert cv2.imread(str(plot)) is not None


@pytest.mark.parametrize(("arguments", "message"), [
    (["--target", "rk3566"], "--target: found 'rk3566'; expected rv1106 or rk3588"),
    (["--input", "64"], "--input: found '64'; expected WxH"),
])  # fmt: skip
def test_wrong_arguments_are_one_line(tmp_path, capsys, arguments, message):
    assert cli.main(["slim", "cost", str(classifier(tmp_path / "a.onnx")), *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_that_is_no_model_is_one_line(tmp_path, capsys):
    (tmp_path / "a.onnx").write_bytes(b"no model")
    assert cli.main(["slim", "cost", str(tmp_path / "a.onnx")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
