"""Detectors as the real exporter writes them: compiled, checked, and run against its own decoder's answers."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_app import cli
from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.evaluation import class_iou, match_by_iou
from edge_app.frame import Detections, Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model import manifest

CONFIG = """
source: {type: synthetic}
model: {path: MODEL}
heads: {NAME: {}}
sinks: [{type: jsonl, path: out.jsonl}]
"""
NAMES = ("v8_dynamic", "v8_p2", "v10_e2e", "v26")
MORE = ("v5u", "v8", "v8_one_class", "v8_opset20", "v8_rect", "v10", "v11", "v26_e2e")
CASES = [
    *(pytest.param(name, marks=pytest.mark.system) for name in NAMES),
    *(pytest.param(name, marks=pytest.mark.long) for name in MORE),
]
SCORE, LEAST_IOU, SCORE_ERROR = 0.3, 0.9, 0.01


def boxes_of(folder, images: list[np.ndarray], **options) -> list[Detections]:
    """What the runtime finds. images: (H, W, 3) BGR."""
    model = manifest.load(folder)
    (name,) = model.heads
    head = HeadConfig(HeadCommon(), {**model.heads[name].options, **options})
    inference = Inference(model, open_backend(model, ModelConfig(model.folder, "onnx")), {name: head})
    found = []
    for i, image in enumerate(images):
        result = inference.infer(Frame("t", i, 0, 0, image)).heads[name].result
        assert isinstance(result, Detections)
        found.append(result)
    inference.close()
    return found


@pytest.mark.parametrize("name", CASES)
def test_finds_what_the_exporters_own_decoder_finds(data, tmp_path, config_file, capsys, name):
    out = tmp_path / "m"
    size = ["--input", "160x160"] if name == "v8_dynamic" else []
    assert cli.main(["compile", str(data / "exports" / f"{name}.onnx"), "--out", str(out), "--json", *size]) == 0
    proof = json.loads(capsys.readouterr().out)["proof"][name]
    assert proof["boxes"]["matched"] == proof["boxes"]["compared"] > 100
    config = config_file(CONFIG.replace("MODEL", str(out)).replace("NAME", name))
    assert cli.main(["check", "-c", str(config)]) == 0, capsys.readouterr()
    compared = 0
    with np.load(data / "exports" / "reference.npz") as reference:
        images = [np.round(x.transpose(1, 2, 0)[..., ::-1] * 255).astype(np.uint8) for x in reference["images"]]
        if name == "v8_rect":
            images = [np.ascontiguousarray(image[:96]) for image in images]
        found = boxes_of(out, images, score=0.25, nms_iou=0.45, max_detections=300)
        for i, (image, result) in enumerate(zip(images, found)):
            compared += check_image(result, visible(reference[f"{name}/{i}"], image))
    assert compared >= 10


def visible(rows: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Rows clipped to the image, as the runtime reports boxes; without those of which nothing is left."""
    height, width = image.shape[:2]
    clipped = rows.copy()
    clipped[:, :4] = np.clip(rows[:, :4], 0, [width, height, width, height])
    return clipped[(clipped[:, 2:4] > clipped[:, :2]).all(axis=1)]


def check_image(result: Detections, rows: np.ndarray) -> int:
    """Match every box above SCORE of both sides. rows: x1, y1, x2, y2, score, class. Returns their number."""
    overlap = class_iou(rows[:, :4], rows[:, 5].astype(int), result.xyxy, result.class_id)
    overlap[np.abs(rows[:, None, 4] - result.score[None]) > SCORE_ERROR] = 0
    matches = match_by_iou(overlap, LEAST_IOU)
    lost = np.setdiff1d(np.flatnonzero(rows[:, 4] > SCORE), matches.rows)
    extra = np.setdiff1d(np.flatnonzero(result.score > SCORE), matches.columns)
    assert len(lost) == len(extra) == 0, (rows[lost], result.xyxy[extra], result.score[extra])
    return int((rows[:, 4] > SCORE).sum())
