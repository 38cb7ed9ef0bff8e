"""Outputs of the right shapes and the wrong values: distinguished by running the model on synthetic images."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import input_models
from edge_app.compiler.input_models import ModelOptions
from edge_app.errors import ModelError
from edge_app.heads.ultraface import priors
from tests.compiler.outputs import cells, random, save

ALL = cells(64, 8, 16, 32)  # of a 64 x 64 input


def read(path, **given):
    (found,) = input_models.read([path], ModelOptions(**given))
    return found


def v8(classes: int, **extra: np.ndarray) -> np.ndarray:
    """(1, 4 + classes, cells): centers and sizes in pixels, then probabilities, then other columns."""
    parts = [random(4, ALL, low=8, high=40), random(classes, ALL, seed=1), *extra.values()]
    return np.concatenate(parts)[None]


def test_a_detector_of_the_usual_values_is_recognized(tmp_path):
    found = read(save(tmp_path / "a.onnx", {"y": v8(3)}))
    assert found.family.name == "yolo"


@pytest.mark.parametrize(
    "extra",
    [
        pytest.param(random(51, ALL, high=60), id="keypoints"),
        pytest.param(random(1, ALL, low=-0.78, high=2.35), id="angle"),
        pytest.param(random(32, ALL, low=-3, high=3), id="mask coefficients"),
        pytest.param(random(3, ALL, low=-8, high=6), id="logits"),
    ],
)
@pytest.mark.parametrize("options", [{}, {"family": "yolo"}])
def test_other_columns_are_not_taken_for_classes(tmp_path, extra, options):
    path = save(tmp_path / "a.onnx", {"y": v8(1, extra=extra)})
    with pytest.raises(ModelError, match=r"a: family 'yolo' .*: found a score of [\d.]+: its outputs are keypoints"):
        read(path, **options)


def test_boxes_in_0_to_1_are_not_taken_for_pixels(tmp_path):
    table = v8(3)
    table[:, :4] /= 64
    with pytest.raises(ModelError, match=r"found boxes in 0\.\.1 instead of pixels"):
        read(save(tmp_path / "a.onnx", {"y": table}))
    final = np.concatenate([random(1, 300, 5), np.ones((1, 300, 1))], axis=2)
    with pytest.raises(ModelError, match=r"found boxes in 0\.\.1 instead of pixels"):
        read(save(tmp_path / "b.onnx", {"y": final}))


def test_final_detections_end_in_a_class_number(tmp_path):
    corners = np.concatenate([random(1, 300, 2, high=30), random(1, 300, 2, low=31, high=60)], axis=2)
    score = random(1, 300, 1)
    good = np.concatenate([corners, score, np.full((1, 300, 1), 2)], axis=2)
    assert read(save(tmp_path / "a.onnx", {"y": good})).family.name == "yolo"
    swapped = np.concatenate([np.full((1, 300, 1), 2), score, corners], axis=2)
    with pytest.raises(ModelError, match="a last column that is not a class number"):
        read(save(tmp_path / "b.onnx", {"y": swapped}))


def test_scores_of_faces_include_the_background(tmp_path):
    n = len(priors((64, 64)))
    corners = np.concatenate([random(1, n, 2, high=0.4), random(1, n, 2, low=0.5)], axis=2)
    face = random(1, n, 1)
    both = np.concatenate([1 - face, face], axis=2)
    assert read(save(tmp_path / "a.onnx", {"scores": both, "boxes": corners})).labels == ("face",)
    with pytest.raises(ModelError, match="found scores without a background"):
        read(save(tmp_path / "b.onnx", {"scores": both * 0.3, "boxes": corners}))
    with pytest.raises(ModelError, match="found boxes that are not corners"):
        read(save(tmp_path / "c.onnx", {"scores": both, "boxes": corners[..., ::-1]}))


def test_the_detector_of_this_project_gives_logits(tmp_path):
    boxes = random(1, 4, 8, 8, high=3)
    assert (
        read(save(tmp_path / "a.onnx", {"s": random(1, 5, 8, 8, low=-4, high=2), "b": boxes})).family.name == "digits"
    )
    with pytest.raises(ModelError, match="found class scores that are not logits"):
        read(save(tmp_path / "b.onnx", {"s": random(1, 5, 8, 8), "b": boxes}))
