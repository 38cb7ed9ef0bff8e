"""The training code of models/digits and the shipped files: ground truth of scenes, operators, hashes, clip."""

from __future__ import annotations

import hashlib
import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

ROOT = Path(__file__).parents[2]
MODEL, TRAINING = ROOT / "models" / "digits", ROOT / "models" / "training"
NPU_OPERATORS = {
    *("Conv", "Clip", "Relu", "Add", "Concat", "Resize", "GlobalAveragePool", "Flatten", "Gemm"),
    *("Transpose", "Cast"),  # of the uint8 image, before the first convolution
}
EXPORTED = ("backbone", "digits", "panel", "scene")
SHIPPED = ("backbone0", "backbone1", "backbone2", "digits", "panel", "scene")  # the compiler cuts the backbone


@pytest.fixture
def recipe(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Import a module of models/training, which is not a package."""
    monkeypatch.syspath_prepend(str(TRAINING))

    def load(name: str) -> ModuleType:
        return importlib.import_module(name)

    return load


def glyph_rows() -> np.ndarray:
    """Ten synthetic crops, one per label: bars of different height and width."""
    crops = np.zeros((10, 20, 20), np.uint8)
    for label in range(10):
        crops[label, 2 : 8 + label, 6 : 9 + label % 4] = 255
    return crops


def test_the_box_of_a_glyph_fits_its_ink(recipe: Any) -> None:
    glyphs, canvas = recipe("glyphs"), recipe("canvas")
    rng = np.random.default_rng(1)
    for label, crop in enumerate(glyph_rows()):
        sheet = canvas.Canvas(np.zeros((120, 160, 3), np.float32))
        sheet.draw(glyphs.ink(crop, label, glyphs.STEADY, rng), (40.0, 20.0), 50.0, np.float32([200, 200, 200]))
        [(found, points)] = sheet.ink
        rows, columns = np.nonzero(sheet.picture[:, :, 0] > 200 * glyphs.INK_EDGE)
        left, top, right, bottom = canvas.ink_box(points)
        assert found == label
        assert abs(top - rows.min()) < 1.5
        assert abs(bottom - (rows.max() + 1)) < 1.5
        assert abs((left + right) / 2 - (columns.min() + columns.max() + 1) / 2) < 1
        assert right - left >= canvas.SLENDER * (bottom - top) - 1e-3


def test_hidden_ink_shrinks_the_box_and_the_visible_share(recipe: Any) -> None:
    glyphs, canvas = recipe("glyphs"), recipe("canvas")
    crop = np.zeros((20, 20), np.uint8)
    crop[2:18, 4:16] = 255
    crop[5:15, 7:13] = 0
    sheet = canvas.Canvas(np.zeros((100, 100, 3), np.float32))
    sheet.draw(glyphs.ink(crop, 3, glyphs.STEADY, np.random.default_rng(0)), (20.0, 20.0), 60.0, np.float32([90] * 3))
    cover = np.zeros((100, 100), np.float32)
    open_box, _, all_of_it = canvas.truth(sheet.ink, cover, sheet.picture)
    cover[:50] = 1
    half_box, labels, half = canvas.truth(sheet.ink, cover, sheet.picture)
    assert labels.tolist() == [3]
    assert all_of_it[0] == 1
    assert 0.4 < half[0] < 0.6
    assert half_box[0, 1] >= 49 > open_box[0, 1]


def test_scenes_repeat_from_a_seed_and_bad_ones_have_no_targets(recipe: Any) -> None:
    glyphs, scenes, camera = recipe("glyphs"), recipe("scenes"), recipe("camera")
    crops = glyphs.Glyphs(glyph_rows(), np.arange(10))

    def composed() -> list[Any]:
        composer = scenes.Composer(crops, np.random.default_rng(5), walls=2)
        return [composer.compose(192, 192) for _ in range(30)]

    first, again = composed(), composed()
    kinds = {scene.kind for scene in first}
    assert {camera.OK, camera.DARK} <= kinds
    for scene, other in zip(first, again):
        assert np.array_equal(scene.image, other.image)
        assert np.array_equal(scene.boxes, other.boxes)
        assert set(scene.labels.tolist()) <= set(range(10))
        if scene.kind in (camera.DARK, camera.BLURRED, camera.COVERED):
            assert not scene.visible.any()
            assert not scene.panel.any()


def test_a_scene_shows_every_wanted_crop_once(recipe: Any) -> None:
    glyphs, scenes, evaluate = recipe("glyphs"), recipe("scenes"), recipe("evaluate")
    composer = scenes.Composer(
        glyphs.Glyphs(glyph_rows(), np.arange(10)), np.random.default_rng(2), evaluate.CLIP_LIKE, walls=1
    )
    for _ in range(5):
        scene = composer.compose(480, 640, [7, 1, 4])
        assert sorted(scene.labels.tolist()) == [1, 4, 7]


def test_held_out_digits_are_the_last_tenth_of_every_row(recipe: Any, data: Path) -> None:
    glyphs = recipe("glyphs")
    trained, held = glyphs.load(data / "digits.png")
    sheet = cv2.imread(str(data / "digits.png"), cv2.IMREAD_GRAYSCALE)
    assert (len(trained.labels), len(held.labels)) == (4500, 500)
    assert np.bincount(held.labels).tolist() == [50] * 10
    assert np.array_equal(held.crops[10], sheet[20:40, 1800:1820])  # second row, first held out
    assert np.array_equal(trained.crops[90], sheet[20:40, 0:20])


def test_rejects_a_sheet_of_another_size(recipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "small.png"
    cv2.imwrite(str(path), np.zeros((20, 40), np.uint8))
    with pytest.raises(ValueError, match=r"small\.png: found 40x20, expected 2000x1000"):
        recipe("glyphs").load(path)


def test_letterboxing_moves_the_ground_truth_with_the_image(recipe: Any) -> None:
    scenes = recipe("scenes")
    panel = np.zeros((4, 6), np.uint8)
    panel[1, 2] = 1
    boxes = np.array([[2, 1, 3, 2]], np.float32)
    image = np.full((4, 6, 3), 9, np.uint8)
    scene = scenes.Scene(image, boxes, np.array([5]), np.ones(1, np.float32), panel, 0)
    boxed = scenes.letterboxed(scene, 16, (3, 5))
    assert boxed.boxes.tolist() == [[5, 6, 6, 7]]
    assert np.argwhere(boxed.panel).tolist() == [[6, 5]]
    assert (boxed.image[5:9, 3:9] == 9).all()
    assert (boxed.image[0] == 114).all()


def test_targets_have_a_digit_at_its_center_with_distances_to_its_edges(recipe: Any) -> None:
    pytest.importorskip("torch", reason="training needs torch, which is not in the test environment")
    train, scenes = recipe("train"), recipe("scenes")
    boxes = np.array([[20, 30, 44, 70], [100, 100, 110, 114], [140, 20, 160, 50]], np.float32)
    scene = scenes.Scene(
        np.zeros((192, 192, 3), np.uint8),
        boxes,
        np.array([4, 7, 1]),
        np.array([1.0, 0.8, 0.4], np.float32),
        np.zeros((192, 192), np.uint8),
        0,
    )
    core, _, distances, _ = train.targets(scene)
    assert core[50 // 8, 32 // 8] == 4
    assert core[107 // 8, 105 // 8] == 7
    assert core[35 // 8, 150 // 8] == train.ANY_DIGIT
    for row, column in np.argwhere(core < 10):
        x, y = (column + 0.5) * 8, (row + 0.5) * 8
        left, top, right, bottom = distances[:, row, column] * 8
        box = boxes[0 if core[row, column] == 4 else 1]
        assert np.allclose([x - left, y - top, x + right, y + bottom], box, atol=1e-3)


def test_exported_graphs_equal_torch(recipe: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch", reason="export needs torch, which is not in the test environment")
    torch.manual_seed(3)
    recipe("export").write(recipe("network").Network(), tmp_path)  # raises if an output differs
    assert set(yaml.safe_load((tmp_path / "model.yaml").read_text())["sha256"]) == {f"{name}.onnx" for name in EXPORTED}


def test_graphs_have_only_npu_operators_and_few_weights() -> None:
    onnx = pytest.importorskip("onnx", reason="reading graphs needs onnx")
    weights = 0
    for name in SHIPPED:
        model = onnx.load(str(MODEL / f"{name}.onnx"))
        assert {node.op_type for node in model.graph.node} <= NPU_OPERATORS, name
        assert 13 <= model.opset_import[0].version <= 17
        for tensor in (*model.graph.input, *model.graph.output):
            # height and width are free so that reuse can compute parts; .rknn files have fixed sizes
            free = [i for i, dim in enumerate(tensor.type.tensor_type.shape.dim) if dim.dim_value <= 0]
            assert free in ([], [2, 3], [1, 2]), f"{name}: {tensor.name}"  # NCHW, or the image's NHWC
        weights += sum(int(np.prod(w.dims)) for w in model.graph.initializer)
    assert weights <= 600_000


def test_shipped_graphs_reproduce_the_golden_vectors(recipe: Any) -> None:
    golden = np.load(MODEL / "golden.npz")
    graphs = recipe("package").Graphs(MODEL)
    assert golden["image"].shape[1:] == (320, 320, 3)
    for index, image in enumerate(golden["image"]):
        for name, values in graphs.run(image[None]).items():
            reference = golden[name][index]
            assert np.abs(values[0] - reference).max() <= 1e-4 * max(1, np.abs(reference).max()), name


def test_every_shipped_file_has_the_hash_in_the_manifest() -> None:
    listed = yaml.safe_load((MODEL / "model.yaml").read_text())["sha256"]
    assert set(listed) >= {*(f"{name}.onnx" for name in SHIPPED), "golden.npz"}
    for name, digest in listed.items():
        assert hashlib.sha256((MODEL / name).read_bytes()).hexdigest() == digest, name


@pytest.fixture(scope="module")
def truth() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (MODEL / "sample.truth.jsonl").read_text().splitlines()]


def test_the_ground_truth_of_the_clip_is_consistent(truth: list[dict[str, Any]]) -> None:
    numbers = [line["reading"] for line in truth if line["reading"]]
    order = list(dict.fromkeys(numbers))
    assert order[0] == "4071"
    assert len(order) >= 6
    assert order == sorted(order)
    for index, line in enumerate(truth):
        assert line["frame"] == index
        if line["scene"] != "ok":
            assert (line["digits"], line["panel"], line["reading"]) == ([], None, None)
        if line["reading"]:
            ordered = sorted(line["digits"], key=lambda digit: digit["box"][0])
            assert "".join(digit["label"] for digit in ordered) == line["reading"]
    for bad in ("dark", "blurred", "covered"):
        assert sum(line["scene"] == bad for line in truth) >= 15, bad  # 1.5 s at 10 frames a second


def test_the_clip_is_as_long_as_its_ground_truth_and_half_of_it_is_still(truth: list[dict[str, Any]]) -> None:
    capture = cv2.VideoCapture(str(MODEL / "sample.mp4"))
    still, previous, frames = 0, None, 0
    while True:
        found, frame = capture.read()
        if not found:
            break
        small = cv2.resize(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), (80, 60), interpolation=cv2.INTER_AREA)
        if previous is not None:
            still += bool(cv2.absdiff(small, previous).max() <= 4)
        previous, frames = small, frames + 1
    capture.release()
    assert frames == len(truth)
    assert frame is None or frame.shape == (480, 640, 3)
    assert 0.4 <= still / frames <= 0.75
    assert (MODEL / "sample.mp4").stat().st_size < 4 << 20


def test_matching_digits_is_one_to_one_by_score_and_label(recipe: Any) -> None:
    evaluate = recipe("evaluate")
    box, shifted, far = [0.1, 0.1, 0.2, 0.3], [0.1, 0.1, 0.2, 0.26], [0.6, 0.6, 0.7, 0.8]
    true = [{"label": "3", "box": box}, {"label": "7", "box": far}]
    found = [
        {"label": "3", "score": 0.6, "box": box},
        {"label": "3", "score": 0.9, "box": shifted},  # takes the only 3
        {"label": "1", "score": 0.9, "box": far},
    ]
    assert evaluate.matches(found, true) == 1
    assert evaluate.matches([], true) == evaluate.matches(found, []) == 0
    np.testing.assert_allclose(evaluate.overlaps(found, true), [[1, 0], [0.8, 0], [0, 1]], atol=1e-12)
