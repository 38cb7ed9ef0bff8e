"""Detect: class logits and edge distances for each cell of 8 pixels, decoded by heads/digits.py.

A cell whose center is in the middle of a box predicts it; of several boxes the smallest. Scores are trained with
varifocal loss (Zhang et al. 2021) on hard targets, boxes with generalized IoU (Rezatofighi et al. 2019).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.evaluation.matching import class_iou, match_by_score
from edge_app.geometry.boxes import Transform
from edge_app.heads import HeadSpec
from edge_app.slim.backbones._blocks import Channels
from edge_app.slim.data.pictures import Sample
from edge_app.slim.recipe import HeadRecipe
from edge_app.slim.tasks._common import STRIDE, Arrays, Fused, Objective, TaskHead

_CORE = 0.5  # of a box's width and height: the cells that predict it
_FOCUS = 2.0
_PRIOR = -4.6  # logit: one cell in a hundred has an object
_IOU = 0.5  # of a detection that counts


class Detection(Objective):
    """Boxes and classes, from scores and edge distances in cells of 8 pixels."""

    FAMILY, OUTPUTS, METRIC = "digits", ("scores", "boxes"), "F1 at IoU 0.5"
    OPTIONS = {"class_aware": True}  # noqa: RUF012  (a ClassVar of the base)

    def targets(self, sample: Sample) -> Arrays:
        """class: (H, W) int64, -1 without an object; distances: (4, H, W) float32, in cells."""
        height, width = (side // STRIDE for side in sample.image.shape[:2])
        found = np.full((height, width), -1, np.int64)
        distances = np.zeros((4, height, width), np.float32)
        y, x = np.mgrid[:height, :width] + 0.5
        area = np.prod(sample.boxes[:, 2:] - sample.boxes[:, :2], axis=1)
        for i in np.argsort(-area, kind="stable"):  # the smallest last, over the others
            left, top, right, bottom = sample.boxes[i] / STRIDE
            middle_x, middle_y = (left + right) / 2, (top + bottom) / 2
            core = np.abs(x - middle_x) <= max((right - left) * _CORE / 2, 0.5)
            core &= np.abs(y - middle_y) <= max((bottom - top) * _CORE / 2, 0.5)
            found[core] = sample.classes[i]
            for channel, edge in enumerate((x - left, y - top, right - x, bottom - y)):
                distances[channel][core] = np.maximum(edge[core], 0)
        return {"class": found, "distances": distances}

    def loss(self, outputs: Sequence[Tensor], targets: dict[str, Tensor]) -> Tensor:
        scores, boxes = outputs
        found = targets["class"]
        positive = found >= 0
        count = positive.sum().clamp(min=1)
        wanted = F.one_hot(found.clamp(min=0), scores.shape[1]).permute(0, 3, 1, 2) * positive[:, None]
        weight = torch.where(wanted > 0, torch.ones_like(scores), scores.detach().sigmoid() ** _FOCUS)
        terms = F.binary_cross_entropy_with_logits(scores, wanted.float(), reduction="none") * weight
        predicted = boxes.permute(0, 2, 3, 1)[positive]
        true = targets["distances"].permute(0, 2, 3, 1)[positive]
        return terms.sum() / count + 1.5 * (1 - _giou(predicted, true)).sum() / count

    def count(self, outputs: Sequence[NDArray[np.float32]], sample: Sample) -> NDArray[np.float64]:
        """Matched detections, detections and boxes."""
        height, width = sample.image.shape[:2]
        specs = tuple(TensorSpec(n, tuple(a.shape), "float32") for n, a in zip(self.OUTPUTS, outputs))
        spec = HeadSpec("detect", self.FAMILY, self.labels, (width, height), outputs=specs)
        decoder = registry.build("heads", self.FAMILY, spec, class_aware=True)
        found = decoder.decode(
            dict(zip(self.OUTPUTS, outputs)), Transform(width, height, width, height, 1.0, 1.0, 0, 0)
        )
        overlap = class_iou(found.xyxy, found.class_id, sample.boxes, sample.classes)
        matches = match_by_score(overlap, found.score, _IOU)
        return np.array([len(matches), len(found), len(sample.boxes)], np.float64)

    def score(self, counts: NDArray[np.float64]) -> float:
        matched, found, true = counts
        return float(2 * matched / max(found + true, 1))


class Head(TaskHead, Detection):
    """c8, c16, c32 -> scores (N, C, H / 8, W / 8) logits; boxes (N, 4, …) left, top, right, bottom, in cells."""

    MAPS, LAST = ("c8", "c16", "c32"), ("scores", "boxes")

    def __init__(self, recipe: HeadRecipe, channels: Channels, labels: tuple[str, ...]) -> None:
        super().__init__(recipe, channels, labels)
        self.fused = Fused(channels, recipe.channels, 2)
        self.scores = nn.Conv2d(recipe.channels, len(labels), 1)
        self.boxes = nn.Conv2d(recipe.channels, 4, 1)
        nn.init.constant_(self.scores.bias, _PRIOR)
        nn.init.constant_(self.boxes.bias, 2.0)  # positive, so that the ReLU passes a gradient

    def forward(self, c8: Tensor, c16: Tensor, c32: Tensor) -> tuple[Tensor, Tensor]:
        x = self.fused(c8, c16, c32)
        return self.scores(x), F.relu(self.boxes(x))


def _giou(a: Tensor, b: Tensor) -> Tensor:
    """Generalized IoU of left, top, right, bottom distances (N, 4) from common centers."""
    area_a = (a[:, 0] + a[:, 2]) * (a[:, 1] + a[:, 3])
    area_b = (b[:, 0] + b[:, 2]) * (b[:, 1] + b[:, 3])
    low, high = torch.minimum(a, b), torch.maximum(a, b)
    shared = (low[:, 0] + low[:, 2]) * (low[:, 1] + low[:, 3])
    hull = (high[:, 0] + high[:, 2]) * (high[:, 1] + high[:, 3])
    union = area_a + area_b - shared
    return shared / union.clamp(min=1e-6) - (hull - union) / hull.clamp(min=1e-6)
