"""models/README.md: its examples run as printed, and its table lists every option of a family."""

import inspect
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app import registry
from edge_app.backends.onnx import Backend
from edge_app.config import HeadCommon, HeadConfig
from edge_app.frame import Detections, Frame
from edge_app.geometry.boxes import iou
from edge_app.inference.stage import Inference
from edge_app.model.manifest import load

README = (Path(__file__).parents[2] / "models" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```yaml\n(format:.*?)```", README, re.S)
EXAMPLES = {re.search(r"^name: (\w+)", block, re.M)[1]: block for block in BLOCKS}
# model, image, and an object in it: label, and box in shares of the image, drawn by eye
OBJECTS = [
    ("fastestdet", "000000288685.jpg", "sheep", (0.24, 0.53, 0.52, 0.85)),
    ("nanodet", "000000288685.jpg", "sheep", (0.24, 0.53, 0.52, 0.85)),
    ("faces", "000000005001.jpg", "face", (0.42, 0.23, 0.48, 0.33)),
]


def test_there_are_four_examples():
    assert sorted(EXAMPLES) == ["faces", "fastestdet", "nanodet", "yolo"]


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_an_example_is_a_valid_manifest(name, tmp_path):
    (tmp_path / "model.yaml").write_text(EXAMPLES[name], encoding="utf-8")
    manifest = load(tmp_path)
    assert manifest.name == name
    assert len(manifest.heads) == 1


@pytest.mark.parametrize(("name", "picture", "label", "box"), OBJECTS)
def test_an_example_runs_and_detects_the_object(name, picture, label, box, data, tmp_path):
    (tmp_path / "model.yaml").write_text(EXAMPLES[name], encoding="utf-8")
    manifest = load(tmp_path)
    for file in manifest.files():
        shutil.copy(data / file, tmp_path)
    image = cv2.imread(str(data / "coco20" / picture))
    heads = {head: HeadConfig(HeadCommon(), spec.options) for head, spec in manifest.heads.items()}
    inference = Inference(manifest, Backend(threads=1), heads)
    try:
        frame = inference.infer(Frame("test", 0, 0, 0, np.ascontiguousarray(image)))
    finally:
        inference.close()
    ((head, output),) = frame.heads.items()
    assert isinstance(output.result, Detections)
    labels = manifest.heads[head].labels
    same = output.result[np.array([labels[i] == label for i in output.result.class_id])]
    by_eye = np.array([box], np.float32) * np.array([image.shape[1], image.shape[0]] * 2, np.float32)
    assert len(same) > 0
    assert iou(same.xyxy, by_eye).max() > 0.6


def test_the_example_of_a_yolo_gives_the_boxes_of_its_exporter(data, tmp_path):
    """With a small export of seven classes in the place of the published one."""
    labels = ["cat", "dog", "bird", "horse", "cup", "car", "person"]
    (tmp_path / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
    text = EXAMPLES["yolo"].replace("640", "160").replace("coco80", "labels.txt")
    (tmp_path / "model.yaml").write_text(text, encoding="utf-8")
    manifest = load(tmp_path)
    ((head, spec),) = manifest.heads.items()
    assert spec.labels == tuple(labels)
    shutil.copy(data / "exports" / "v11.onnx", tmp_path / "yolo11n.onnx")
    inference = Inference(manifest, Backend(threads=1), {head: HeadConfig(HeadCommon(), {"score": 0.3})})
    compared = 0
    try:
        with np.load(data / "exports" / "reference.npz") as reference:
            for i, planes in enumerate(reference["images"]):
                pixels = np.round(planes.transpose(1, 2, 0)[..., ::-1] * 255).astype(np.uint8)
                frame = inference.infer(Frame("test", i, 0, 0, np.ascontiguousarray(pixels)))
                found = frame.heads[head].result
                expected = reference[f"v11/{i}"]
                expected = expected[expected[:, 4] > 0.31]
                best = iou(np.clip(expected[:, :4], 0, 160).astype(np.float32), found.xyxy).max(axis=1, initial=0)
                assert (best > 0.9).all()
                compared += len(expected)
    finally:
        inference.close()
    assert compared > 20


def test_the_table_lists_existing_families_with_every_option():
    common = {"score", "nms_iou", "max_detections", "class_aware"}
    rows = dict(re.findall(r"^\| `(\w+)` \|(.*)$", README.split("## Families")[1], re.M))
    assert rows.keys() <= set(registry.names("heads"))
    for family, row in rows.items():
        options = {option.name for option in registry.options("heads", family)} - common
        assert options <= set(re.findall(r"`(\w+)(?:: [^`]+)?`", row)), family
        assert inspect.getdoc(registry.find("heads", family)), family
