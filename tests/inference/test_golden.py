"""Golden vectors: the shipped ones match; missing, damaged or foreign ones are reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edge_app import config
from edge_app.errors import BackendError
from edge_app.inference.golden import TOLERANCE, cosine, golden_error, replay
from tests.conftest import PROJECT


@pytest.fixture
def settings(tmp_path: Path, config_file) -> config.Config:
    """A configuration with a copy of the shipped model, without hashes."""
    folder = tmp_path / "model"
    shutil.copytree(PROJECT / "models/digits", folder, ignore=shutil.ignore_patterns("sample*"))
    text = (folder / "model.yaml").read_text(encoding="utf-8")
    (folder / "model.yaml").write_text(text[: text.index("\nsha256:")] + "\n", encoding="utf-8")
    return config.load(config_file("source: {type: synthetic}\nmodel: {path: model, backend: onnx}\n"))


def rewrite(path: Path, **changes: np.ndarray | None) -> None:
    """Change arrays of golden.npz; None removes one."""
    with np.load(path) as archive:
        arrays = {name: archive[name] for name in archive.files} | changes
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def test_the_shipped_golden_vectors_match_fused_and_in_parts(settings):
    outcomes = list(replay(settings))
    assert [outcome.in_parts for outcome in outcomes] == [False, True]
    assert {outcome.verdict for outcome in outcomes} == {"ok"}
    assert all(outcome.engine.startswith("onnxruntime") for outcome in outcomes)


def test_a_missing_file_is_a_warning(settings):
    (settings.manifest.folder / "golden.npz").unlink()
    outcome = next(replay(settings))
    assert outcome.verdict == "warn"
    assert "golden.npz: missing" in outcome.text


def test_a_damaged_file_fails(settings):
    (settings.manifest.folder / "golden.npz").write_bytes(b"no archive")
    outcome = next(replay(settings))
    assert outcome.verdict == "fail"
    assert "golden.npz: is not an .npz archive" in outcome.text


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (None, "has no 'scene/scene'"),
        (np.zeros((0, 1), np.float32), r"'scene/scene' is float32[0, 1]; expected float32[3, 4]"),
        (np.zeros((2, 4), np.float32), r"'scene/scene' is float32[2, 4]; expected float32[3, 4]"),
        (np.zeros((3, 4)), r"'scene/scene' is float64[3, 4]; expected float32[3, 4]"),
    ],
)
def test_vectors_of_another_model_fail(settings, array, found):
    rewrite(settings.manifest.folder / "golden.npz", **{"scene/scene": array})
    outcome = next(replay(settings))
    assert outcome.verdict == "fail"
    assert outcome.text == f"{settings.manifest.folder}/golden.npz: {found}: it belongs to another model"


@pytest.mark.parametrize(
    "image",
    [
        None,
        np.zeros((0, 320, 320, 3), np.uint8),
        np.zeros((17, 320, 320, 3), np.uint8),
        np.zeros((1, 320, 320), np.uint8),
        np.zeros((1, 320, 321, 3), np.uint8),
        np.zeros((1, 320, 320, 3), np.float32),
        np.uint8(1),
    ],
    ids=repr,
)
def test_inputs_of_another_model_fail(settings, image):
    rewrite(settings.manifest.folder / "golden.npz", image=image)
    outcome = next(replay(settings))
    assert outcome.verdict == "fail"
    assert "golden.npz: " in outcome.text
    assert "'image'" in outcome.text
    assert "\n" not in outcome.text


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, np.finfo(np.float32).max])
@pytest.mark.parametrize("prefix", ["", "onnx:"])
def test_one_extreme_value_fails(settings, value, prefix):
    path = settings.manifest.folder / "golden.npz"
    with np.load(path) as archive:
        changed = archive["digits/scores"].copy()
    changed[1, 0, 0, 0] = value
    rewrite(path, **{f"{prefix}digits/scores": changed})
    assert next(replay(settings)).verdict == "fail"


def test_a_file_that_cannot_be_read_fails(settings):
    path = settings.manifest.folder / "golden.npz"
    path.unlink()
    path.symlink_to("/dev/zero")
    outcome = next(replay(settings))
    assert outcome.verdict == "fail"
    assert "golden.npz: cannot be read: Is a link to a file outside the folder" in outcome.text


def test_different_outputs_fail(settings):
    path = settings.manifest.folder / "golden.npz"
    with np.load(path) as archive:
        changed = archive["digits/scores"] + np.float32(10 * TOLERANCE)
    rewrite(path, **{"digits/scores": changed})
    outcome = next(replay(settings))
    assert outcome.verdict == "fail"
    assert "largest error 1.0e-02, allowed 1e-03" in outcome.text


def test_an_output_of_another_shape_raises():
    with pytest.raises(BackendError, match="shape"):
        golden_error(np.zeros((1, 2)), np.zeros((1, 3)))


def test_cosine_of_parallel_orthogonal_and_zero_arrays():
    x = np.array([[1.0, 2.0]])
    assert cosine(x, 3 * x) == pytest.approx(1)
    assert cosine(x, np.array([[2.0, -1.0]])) == pytest.approx(0)
    assert cosine(0 * x, 0 * x) == 1
    assert cosine(x, 0 * x) == 0
