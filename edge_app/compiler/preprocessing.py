"""The usual preprocessing of each family's models, which an ONNX file does not contain: reported as assumed.

Sources: ultralytics, torchvision and PaddleClas, NanoDet, FastestDet, Ultra-Light-Fast-Generic-Face-Detector, YuNet,
YOLOX, PaddleDetection, InsightFace, RT-DETR, RF-DETR, Pytorch_Retinaface, MediaPipe,
SSD of Caffe, pytorch-ssd, torchvision and TensorFlow.
Not here: applying it (edge_app/inference, frontend.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

from edge_app.compiler.evidence import Evidence
from edge_app.geometry.boxes import Resize
from edge_app.heads._grids import grid

Color = Literal["rgb", "bgr"]
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """The preprocessing of a model: (pixel - mean) / std, in this color order, after `resize`.

    crop_fraction: of the short side, the part that `resize: crop` takes.
    """

    color: Color
    mean: Triple
    std: Triple
    resize: Resize
    pad: int = 114
    crop_fraction: float = 1.0


_UNIT_RGB = Preprocessing("rgb", (0, 0, 0), (255, 255, 255), "letterbox")
_IMAGENET = Preprocessing("rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375), "stretch")
_USUAL = {
    "yolo": _UNIT_RGB,
    "digits": _UNIT_RGB,
    "nanodet": Preprocessing("bgr", (103.53, 116.28, 123.675), (57.375, 57.12, 58.395), "letterbox"),
    "fastestdet": Preprocessing("bgr", (0, 0, 0), (255, 255, 255), "stretch"),
    "ultraface": Preprocessing("rgb", (127, 127, 127), (128, 128, 128), "stretch"),
    "ssd": Preprocessing("rgb", (127, 127, 127), (128, 128, 128), "stretch"),  # pytorch-ssd
    "scrfd": Preprocessing("rgb", (127.5, 127.5, 127.5), (128, 128, 128), "letterbox", pad=0),
    "retinaface": Preprocessing("bgr", (104, 117, 123), (1, 1, 1), "letterbox"),
    "blazeface": Preprocessing("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "letterbox", pad=0),
    "yunet": Preprocessing("bgr", (0, 0, 0), (1, 1, 1), "letterbox"),
    "classify": replace(_IMAGENET, resize="crop", crop_fraction=0.875),  # torchvision, PaddleClas: 256, then 224
    "segment": _IMAGENET,
    "detr": replace(_UNIT_RGB, resize="stretch"),  # RT-DETR, D-FINE
    "ppyoloe": replace(_UNIT_RGB, resize="stretch"),  # PP-YOLOE+
    "anomaly": _IMAGENET,  # anomalib: 256 x 256, also cropped to 224
    "dbtext": Preprocessing("bgr", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "letterbox"),
    "ctc": Preprocessing("bgr", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "line", pad=127),
    "embed": Preprocessing("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "stretch"),
}
_YOLOX = Preprocessing("bgr", (0, 0, 0), (1, 1, 1), "letterbox")
_SSD = {  # by the number of priors; torchvision and TensorFlow, Caffe, all of SSD300
    3234: Preprocessing("rgb", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "stretch"),
    1917: Preprocessing("bgr", (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), "stretch"),
    8732: Preprocessing("rgb", (123, 117, 104), (1, 1, 1), "stretch"),
}
_SSD_CLASSES = 91  # of TensorFlow's models
_PICODET_LEVELS = 4  # NanoDet has three, or joins four in one output


def _fastest_cells(evidence: Evidence) -> int:
    """The number of cells of YOLO-FastestV2, whose strides are 16 and 32."""
    return sum(grid(evidence.size, stride).cells for stride in (16, 32))


def _of_ssd(evidence: Evidence) -> Preprocessing:
    """By the number of priors; TensorFlow's models are those with its names, or 91 classes."""
    sizes = [math.prod(shape) for shape in evidence.shapes]
    count = next((n for n in _SSD if 4 * n in sizes), 0)
    is_tensorflow = any("detection" in output.name for output in evidence.outputs)
    if is_tensorflow or (count == 1917 and _SSD_CLASSES * count in sizes):
        count = 3234
    return _SSD.get(count, _USUAL["ssd"])


def usual(evidence: Evidence, family: str) -> Preprocessing:
    """The preprocessing of a family's published models, as far as the metadata of the file does not say otherwise."""
    metadata = evidence.metadata
    found = _USUAL.get(family, _UNIT_RGB)
    if metadata.task:  # of ultralytics, all of whose models take 0..1
        found = replace(_UNIT_RGB, resize=found.resize)
    elif family == "yolo" and evidence.slices_pixels:
        found = _YOLOX
    elif family == "yolo" and evidence.tables[:1] and evidence.tables[0][0] == _fastest_cells(evidence):
        found = _USUAL["fastestdet"]
    elif family == "detr" and {"dets", "labels"} <= {output.name for output in evidence.outputs}:
        found = _IMAGENET  # RF-DETR
    elif family == "ssd":
        found = _of_ssd(evidence)
    elif family == "nanodet" and len(evidence.tables) == 2 * _PICODET_LEVELS:
        found = _IMAGENET
    if metadata.scale is not None:
        found = replace(found, mean=(0, 0, 0), std=(metadata.scale,) * 3)
    return replace(found, color=metadata.color or found.color)
