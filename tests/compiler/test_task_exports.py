"""Poses, oriented boxes and instances as the real exporter writes them: compiled, checked, against its own decoder."""

from __future__ import annotations

import json
import math

import numpy as np
import onnxruntime
import pytest

from edge_app import cli
from edge_app.evaluation import match_by_iou
from edge_app.frame import Detections
from edge_app.geometry.boxes import fit, iou
from tests.compiler.test_exports import CONFIG, boxes_of, visible
from tests.heads import plain
from tests.heads.test_instances import mask_of

NAMES = ("v8_seg",)
MORE = (
    "v26_pose_e2e",
    "v11_obb",
    "v8_pose",
    "v11_pose",
    "v26_pose",
    "v8_obb",
    "v26_obb",
    "v11_seg",
    "v26_seg",
    "v26_seg_e2e",
)
CASES = [
    *(pytest.param(name, marks=pytest.mark.system) for name in NAMES),
    *(pytest.param(name, marks=pytest.mark.long) for name in MORE),
]
SCORE, LEAST_IOU, SCORE_ERROR = 0.3, 0.9, 0.01


@pytest.mark.parametrize("name", CASES)
def test_finds_what_the_exporters_own_decoder_finds(data, tmp_path, config_file, capsys, name):
    out = tmp_path / "m"
    assert cli.main(["compile", str(data / "exports" / f"{name}.onnx"), "--out", str(out), "--json"]) == 0
    proof = json.loads(capsys.readouterr().out)["proof"][name]["boxes"]
    assert proof["matched"] == proof["compared"] > 100
    assert (proof["masks"] > 0) == ("seg" in name)
    config = config_file(CONFIG.replace("MODEL", str(out)).replace("NAME", name))
    assert cli.main(["check", "-c", str(config)]) == 0, capsys.readouterr()
    compared = 0
    with np.load(data / "exports" / "reference.npz") as reference:
        images = [np.round(x.transpose(1, 2, 0)[..., ::-1] * 255).astype(np.uint8) for x in reference["images"]]
        found = boxes_of(out, images, score=0.25, nms_iou=0.45, max_detections=300)
        for i, (image, result) in enumerate(zip(images, found)):
            rows = reference[f"{name}/{i}"]
            compared += check_oriented(result, rows) if "obb" in name else check_upright(result, rows, image)
            if "seg" in name:
                assert len(result.polygons) == len(result)
                check_masks(data / "exports" / f"{name}.onnx", reference["images"][i], visible(rows, image))
    assert compared >= 10


def check_upright(result: Detections, rows: np.ndarray, image: np.ndarray) -> int:
    """Match every box above SCORE of both sides, and the keypoints of a pose. Returns their number."""
    rows = visible(rows, image)
    matched = pairs(iou(rows[:, :4], result.xyxy), rows, result)
    if result.keypoints is not None:
        points = rows[:, 6:].reshape(len(rows), -1, 3)
        height, width = image.shape[:2]
        for row, column in matched:
            expected = np.clip(points[row, :, :2], 0, [width, height])
            np.testing.assert_allclose(result.keypoints[column, :, :2], expected, atol=1)
            np.testing.assert_allclose(result.keypoints[column, :, 2], points[row, :, 2], atol=0.01)
    return len(matched)


def check_oriented(result: Detections, rows: np.ndarray) -> int:
    """Match every oriented box above SCORE of both sides by the centers. Returns their number."""
    corners = np.empty((0, 4, 2)) if result.corners is None else result.corners
    apart = np.abs(rows[:, None, :2] - corners.mean(axis=1)[None]).max(axis=2)
    matched = pairs(1 - apart / 10, rows, result)
    for row, column in matched:
        x, y, width, height, _, _, angle = rows[row].tolist()
        np.testing.assert_allclose(corners[column].mean(axis=0), [x, y], atol=0.5)
        sides = np.hypot(*(corners[column, [1, 3]] - corners[column, 0]).T)
        np.testing.assert_allclose(sides, [width, height], atol=0.5)
        assert abs(math.remainder(result.angle[column] - angle, math.pi)) <= 0.01
    return len(matched)


def pairs(overlap: np.ndarray, rows: np.ndarray, result: Detections) -> list[tuple[int, int]]:
    """Rows and detections of the same box. Fails if one above SCORE has no partner. overlap: (N, M)."""
    overlap = overlap * (np.abs(rows[:, None, 4] - result.score[None]) <= SCORE_ERROR)
    overlap *= rows[:, None, 5] == result.class_id[None]
    matches = match_by_iou(overlap.astype(np.float32), LEAST_IOU)
    lost = np.setdiff1d(np.flatnonzero(rows[:, 4] > SCORE), matches.rows)
    extra = np.setdiff1d(np.flatnonzero(result.score > SCORE), matches.columns)
    assert len(lost) == len(extra) == 0, (rows[lost], result.xyxy[extra], result.score[extra])
    return list(zip(matches.rows.tolist(), matches.columns.tolist()))


def check_masks(file, image: np.ndarray, rows: np.ndarray) -> int:
    """Compare the mask of every row above SCORE, at the size of the input. Returns their number."""
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    outputs = dict(zip(names, session.run(names, {session.get_inputs()[0].name: image[None]})))
    head = plain.build("instances", outputs, (160, 160), score=0.25, max_detections=300)
    detections, masks = head.decode_masks(outputs, fit((160, 160), (160, 160), "stretch"))
    matched = pairs(iou(rows[:, :4], detections.xyxy), rows, detections)
    for row, number in matched:
        mask, found = masks[number], np.zeros((160, 160), bool)
        height, width = mask.margin.shape
        found[mask.top : mask.top + height, mask.left : mask.left + width] = mask.margin > 0
        expected = mask_of(rows[row, 6:], outputs[names[1]][0], rows[row, :4])
        assert (found & expected).sum() >= 0.95 * (found | expected).sum()
    return len(matched)
