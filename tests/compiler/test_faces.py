"""Face detectors with landmarks are recognized by their outputs; other detectors are not taken for them."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import input_models
from edge_app.compiler.input_models import ModelOptions
from edge_app.errors import ModelError
from tests.compiler.outputs import cells, random, save
from tests.compiler.test_families import verdict

ALL = cells(64, 8, 16, 32)  # of a 64 x 64 input


def read(path, **given):
    (found,) = input_models.read([path], ModelOptions(**given))
    return found


def scrfd(batch: tuple[int, ...], columns: tuple[int, ...]) -> dict[str, np.ndarray]:
    shapes = [(*batch, 2 * cells(64, stride), n) for n in columns for stride in (8, 16, 32)]
    return {f"o{i}": random(*shape) for i, shape in enumerate(shapes)}


def background(rows: int) -> np.ndarray:
    face = random(1, rows, 1)
    return np.concatenate([1 - face, face], axis=2)


def face_rows(rows: int, seed: int = 0) -> np.ndarray:
    """(rows, 16): in the landmarks, left is left of right, and eyes, nose and mouth follow from top to bottom."""
    rng = np.random.default_rng(seed)
    values = rng.normal(0, 0.1, (rows, 16))
    values[:, 4], values[:, 15] = rng.uniform(0.1, 0.9, (2, rows))
    return (values + np.array([0] * 5 + [-1, -1, 1, -1, 0, 0, -1, 1, 1, 1] + [0])).astype(np.float32)


def in_pixels(rows: np.ndarray) -> np.ndarray:
    """Boxes of 20 pixels, and landmarks in them."""
    rows = rows.copy()
    rows[:, :2], rows[:, 2:4] = 30 + rows[:, :2], 20
    rows[:, 5:15] = 30 + 6 * rows[:, 5:15]
    return rows


RECOGNIZED = {
    "scrfd": scrfd((1,), (1, 4, 10)),
    "scrfd without a batch": scrfd((), (1, 4, 10)),
    "scrfd without landmarks": scrfd((1,), (1, 4)),
    "retinaface": {"boxes": random(1, 168, 4), "scores": background(168), "points": random(1, 168, 10)},
    "retinaface of the light models": {
        "boxes": random(1, 235, 4), "scores": background(235), "points": random(1, 235, 10)
    },
    "yoloface": {f"s{s}": face_rows(3 * (64 // s) ** 2).reshape(1, 3, 64 // s, 64 // s, 16) for s in (8, 16, 32)},
    "yoloface in one table": {"out": in_pixels(face_rows(3 * ALL))[None]},
}  # fmt: skip


@pytest.mark.parametrize("kind", RECOGNIZED)
def test_recognizes_face_detectors_by_their_outputs(tmp_path, kind):
    found = read(save(tmp_path / "a.onnx", RECOGNIZED[kind]))
    assert (found.family.name, found.labels) == (kind.split()[0], ("face",))


@pytest.mark.parametrize("split", [False, True])
def test_recognizes_blazeface(tmp_path, split):
    values, scores = random(1, 896, 16, high=40), random(1, 896, 1, low=-9, high=9)
    outputs = {"regressors": values, "classificators": scores}
    if split:
        outputs = {
            "r8": values[:, :512], "r16": values[:, 512:], "s8": scores[:, :512], "s16": scores[:, 512:]
        }  # fmt: skip
    found = read(save(tmp_path / "a.onnx", outputs, size=(128, 128)))
    assert (found.family.name, found.labels) == ("blazeface", ("face",))
    assert (found.preprocessing.color, found.preprocessing.pad) == ("rgb", 0)


def test_rows_that_may_be_landmarks_or_classes_are_a_question(tmp_path):
    rows = random(1, 3 * ALL, 16)
    rows[..., :4] *= 60
    path = save(tmp_path / "a.onnx", {"out": rows})
    with pytest.raises(ModelError, match="--family yoloface if it is a face detector or --labels FILE if it is"):
        read(path)
    assert read(path, family="yoloface").family.name == "yoloface"
    labels = tuple(f"class{i}" for i in range(11))
    assert read(path, labels=labels).family.name == "yolo"


def test_a_detector_of_eleven_classes_keeps_its_family_if_it_has_labels(tmp_path):
    labels = tuple(f"class{i}" for i in range(11))
    rows = in_pixels(face_rows(3 * ALL))
    rows[:, 5:15] = (rows[:, 5:15] / 60).clip(0, 1)  # scores that are arranged like landmarks
    rows[:, 15] = rows[:, 15].clip(0, 1)
    path = save(tmp_path / "a.onnx", {"out": rows[None]})
    assert read(path, labels=labels).family.name == "yolo"


@pytest.mark.parametrize(
    ("file", "family"),
    [
        pytest.param("scrfd_500m", "scrfd", marks=pytest.mark.system),
        pytest.param("yolov5n05face", "yoloface", marks=pytest.mark.system),
        ("face_detection_short_range", "blazeface"),
    ],
)
def test_recognizes_public_face_detectors(data, file, family):
    found = verdict(data / f"{file}.onnx")
    assert (found.name, found.labels) == (family, ("face",))
