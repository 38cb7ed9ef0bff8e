"""Class maps: the outlines of the segmentation head against the classes of the published output."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_app.backends import TensorSpec
from edge_app.compiler import result_proof
from edge_app.compiler.result_proof import ClassMap
from edge_app.errors import ModelError
from edge_app.frame import Text
from edge_app.heads import HeadSpec

SIZE = (96, 128)  # height, width of the map; the input is twice as large


def shapes(classes: int, seed: int = 0) -> np.ndarray:
    """Smooth random class scores (1, C, H, W), with regions in regions."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(classes, 12, 16)).astype(np.float32)
    return 4 * np.stack([cv2.resize(each, SIZE[::-1], interpolation=cv2.INTER_CUBIC) for each in noise])[None]


def checked(raw: np.ndarray, outputs: np.ndarray | None = None, tolerance: float = 1e-4, **options) -> tuple[int, int]:
    outputs = raw if outputs is None else outputs
    spec = HeadSpec("a", "segment", (), (2 * SIZE[1], 2 * SIZE[0]), outputs=(TensorSpec("y", raw.shape, "float32"),))
    return result_proof.check_maps(spec, options, {"y": outputs}, raw, tolerance)


@pytest.mark.parametrize("classes", [1, 2, 5])
@pytest.mark.parametrize("seed", range(3))
def test_the_regions_of_the_head_give_the_classes_of_the_file(classes, seed):
    cells, inside = checked(shapes(classes, seed))
    assert cells > 0.99 * SIZE[0] * SIZE[1]
    assert inside > 0.4 * SIZE[0] * SIZE[1]


def test_options_that_leave_regions_out_are_not_a_difference():
    checked(shapes(4), background=True, max_regions=1, min_area=0.5, simplify=9.0, shape="quad", score=0.9)


def test_a_threshold_applies_to_probabilities():
    mask = 1 / (1 + np.exp(-shapes(1)))
    assert (ClassMap.of(mask, {"threshold": 0.9}).labels >= 0).sum() < (ClassMap.of(mask, {}).labels >= 0).sum()
    np.testing.assert_array_equal(
        ClassMap.of(mask, {"threshold": 0.9}).labels, ClassMap.of(shapes(1), {"threshold": 0.9}).labels
    )
    checked(mask, threshold=0.9)


def test_rejects_another_class_of_one_cell():
    raw = shapes(3)
    wrong = raw.copy()
    wrong[0, :, 40, 50] = np.roll(wrong[0, :, 40, 50], 1)
    with pytest.raises(ModelError, match=r"^a: 1 of \d+ cells have another class") as raised:
        checked(raw, wrong)
    assert "\n" not in str(raised.value)


def test_cells_with_two_equal_classes_may_have_either():
    raw = shapes(3)
    best = np.sort(raw[0, :, 40, 50])[-1]
    raw[0, :2, 40, 50] = best, best + 1e-5
    other = raw.copy()
    other[0, :2, 40, 50] = other[0, 1::-1, 40, 50]
    before = checked(shapes(3))[0]
    assert checked(raw, other)[0] >= before - 1


@pytest.mark.parametrize("classes", [1, 4])
def test_rejects_a_head_that_outlines_something_else(classes, monkeypatch):
    """Its polygons are those of the map turned upside down."""
    raw = shapes(classes)
    build = result_proof.registry.build

    class Upside:
        def __init__(self, head):
            self.head = head

        def decode(self, outputs, transform):
            return self.head.decode({"y": outputs["y"][:, :, ::-1].copy()}, transform)

    monkeypatch.setattr(result_proof.registry, "build", lambda *a, **k: Upside(build(*a, **k)))
    with pytest.raises(ModelError, match=r"^a: the head's regions give \d+ of \d+ cells another class"):
        checked(raw)


def test_holes_of_a_mask_are_not_compared():
    raw = np.full((1, 1, *SIZE), -4.0, np.float32)
    raw[0, 0, 20:80, 20:110] = 4
    raw[0, 0, 40:60, 40:60] = -4  # the head reports no holes
    cells, inside = checked(raw)
    assert cells == SIZE[0] * SIZE[1]
    assert inside < cells - 18 * 18


def test_too_many_regions_are_compared_as_classes_only(monkeypatch):
    monkeypatch.setattr(result_proof, "_REGIONS", 3)
    cells, inside = checked(shapes(4))
    assert cells > 0.9 * SIZE[0] * SIZE[1]
    assert inside == 0


@pytest.mark.parametrize(("blank", "first"), [("auto", True), ("last", False)])
def test_a_text_is_that_of_the_best_classes(blank, first):
    """The characters of `labels`, then the space; a wrong text is one line."""
    labels, options = ("a", "b", "c"), {"blank": blank}
    best = [0, 1, 1, 0, 1, 4, 3, 0] if first else [4, 0, 0, 4, 0, 3, 2, 4]
    raw = np.eye(5, dtype=np.float32)[best][None]
    assert result_proof.check_text("line", Text("aa c", 1.0), raw, labels, options) == 4
    with pytest.raises(ModelError, match=r"^line: reads another text than the published file; expected the same$"):
        result_proof.check_text("line", Text("aa b", 1.0), raw, labels, options)
    assert result_proof.check_text("line", Text("", 0.0), np.zeros((1, 5), np.float32), labels, options) == 0
