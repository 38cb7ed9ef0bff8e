"""`model.precision: auto`: what is measured, when, where it is stored, and what it chooses."""

from __future__ import annotations

import logging
import shutil
from contextlib import closing
from pathlib import Path

import pytest

from edge_app import config, pipeline
from edge_app.config import HeadConfig, ModelConfig
from edge_app.errors import ConfigError, ModelError
from edge_app.inference import precision
from edge_app.inference.engine import open_backend
from edge_app.inference.precision import Measured
from edge_app.model import manifest
from tests.conftest import PROJECT

DIGITS = PROJECT / "models/digits"
AUTO = ModelConfig(DIGITS, "onnx", precision="auto")
TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, frames: 2, pace: fast}
model: {path: MODEL, backend: onnx, precision: auto}
publish: {results: all, status_every_s: 0}
sinks: [{type: jsonl, path: results.jsonl}]
"""


def heads_of(loaded: manifest.Manifest) -> dict[str, HeadConfig]:
    return {name: HeadConfig(config.HeadCommon(), spec.options) for name, spec in loaded.heads.items()}


def choose(model: ModelConfig, state_dir: Path | None) -> str:
    loaded = manifest.load(model.path)
    return precision.choose(loaded, model, heads_of(loaded), state_dir).precision


def stored(state_dir: Path) -> list[Path]:
    return list(state_dir.glob("tune/precision/*/*.yaml"))


def rewrite(file: Path, float_ms: float, int8_ms: float, threads: int = 1) -> None:
    file.write_text(f"float_ms: {float_ms}\nint8_ms: {int8_ms}\nthreads: {threads}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def without_int8(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("float") / "model"
    shutil.copytree(DIGITS, folder, ignore=shutil.ignore_patterns("sample*", "golden*", "*.rknn", "*.int8.*"))
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text.replace("int8:", "other:"), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("float_ms", "int8_ms", "expected"), [(10, 20, "float"), (10, 10, "float"), (10, 9.6, "float"), (10, 9.4, "int8")]
)
def test_int8_is_chosen_only_if_it_is_clearly_faster(float_ms, int8_ms, expected):
    assert Measured(float_ms, int8_ms, 1).faster == expected


def test_both_are_measured_once_and_the_choice_is_kept(tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        first = choose(AUTO, tmp_path)
    assert first in ("float", "int8")
    (line,) = [record.getMessage() for record in caplog.records if record.name == "edge_app.inference.precision"]
    assert line.startswith(f"precision: {first}; float takes ")
    (file,) = stored(tmp_path)
    assert precision.load(file).faster == first
    for float_ms, int8_ms, expected in ((9, 1, "int8"), (1, 9, "float")):  # the stored times count, not new ones
        rewrite(file, float_ms, int8_ms)
        assert choose(AUTO, tmp_path) == expected


def test_another_number_of_threads_is_measured_again(tmp_path):
    choose(AUTO, tmp_path)
    (file,) = stored(tmp_path)
    rewrite(file, 1, 9, threads=7)
    choose(AUTO, tmp_path)
    assert precision.load(file).threads == 1


def test_an_explicit_precision_is_not_measured(tmp_path):
    for wanted in ("float", "int8"):
        assert choose(ModelConfig(DIGITS, "onnx", precision=wanted), tmp_path) == wanted
    assert not stored(tmp_path)


def test_a_model_without_int8_graphs_runs_in_float_and_nothing_is_said(tmp_path, without_int8, caplog):
    with caplog.at_level(logging.DEBUG):
        assert choose(ModelConfig(without_int8, "onnx", precision="auto"), tmp_path) == "float"
    assert not stored(tmp_path)
    assert not [record for record in caplog.records if record.name == "edge_app.inference.precision"]


def test_int8_without_int8_graphs_is_one_line(without_int8):
    with pytest.raises(
        ModelError, match=r"model\.precision: found int8.*no int8 graphs; expected float or auto"
    ) as error:
        open_backend(manifest.load(without_int8), ModelConfig(without_int8, "onnx", precision="int8"))
    assert "\n" not in str(error.value)
    assert error.value.exit_code == 2


def test_a_state_dir_that_cannot_be_written_is_a_warning(tmp_path, caplog):
    (tmp_path / "tune").write_text("not a folder", encoding="utf-8")
    assert choose(AUTO, tmp_path) in ("float", "int8")
    assert "cannot be written" in caplog.text


@pytest.mark.parametrize("text", ["float_ms: -1\nint8_ms: 2\nthreads: 1\n", "float_ms: [\n", "float_ms: 1\n"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, text):
    choose(AUTO, tmp_path)
    (file,) = stored(tmp_path)
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=file.name):
        choose(AUTO, tmp_path)


def test_run_measures_and_its_state_names_int8_but_a_replay_is_float(config_file):
    settings = config.load(config_file(TEXT.replace("MODEL", str(DIGITS))))
    with pipeline.build(settings, replay=True) as running:
        assert "int8" not in running.status()["backend"]
    assert not stored(settings.device.state_dir)
    with pipeline.build(settings) as running:
        pass
    (file,) = stored(settings.device.state_dir)
    for times, named in (((9, 1), True), ((1, 9), False)):
        rewrite(file, *times)
        with pipeline.build(settings) as running:
            assert running.status()["backend"].endswith(" int8") is named


def test_elsewhere_auto_is_float():
    with closing(open_backend(manifest.load(DIGITS), AUTO)) as backend:
        assert backend.target == "onnx"
