"""Segment: a class for each cell of 8 pixels. One class is a mask; several have a background as class 0."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app.slim.backbones._blocks import Channels
from edge_app.slim.data.pictures import Sample
from edge_app.slim.recipe import HeadRecipe
from edge_app.slim.tasks._common import STRIDE, Arrays, Fused, Objective, TaskHead

_UNKNOWN = 255


class Segments(Objective):
    """A class for each cell of 8 pixels: logits (N, C, H / 8, W / 8)."""

    FAMILY, OUTPUTS, METRIC = "segment", ("map",), "mean IoU"

    def published_labels(self) -> tuple[str, ...]:
        return self.labels if len(self.labels) == 1 else ("background", *self.labels)

    def targets(self, sample: Sample) -> Arrays:
        return {"mask": sample.mask[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE].astype(np.int64)}

    def loss(self, outputs: Sequence[Tensor], targets: dict[str, Tensor]) -> Tensor:
        (logits,), mask = outputs, targets["mask"]
        if logits.shape[1] > 1:
            known = (mask != _UNKNOWN).sum().clamp(min=1)
            return F.cross_entropy(logits, mask, ignore_index=_UNKNOWN, reduction="sum") / known
        known = (mask != _UNKNOWN).float()
        terms = F.binary_cross_entropy_with_logits(logits[:, 0], (mask == 1).float(), reduction="none")
        return (terms * known).sum() / known.sum().clamp(min=1)

    def count(self, outputs: Sequence[NDArray[np.float32]], sample: Sample) -> NDArray[np.float64]:
        """Intersections of the classes from 1 on, then unions."""
        logits, mask = outputs[0][0], self.targets(sample)["mask"]
        found = logits.argmax(axis=0) if len(logits) > 1 else (logits[0] > 0).astype(int)
        classes, known = np.arange(1, len(self.labels) + 1)[:, None, None], mask != _UNKNOWN
        a, b = (found == classes) & known, (mask == classes) & known
        return np.concatenate([(a & b).sum((1, 2)), (a | b).sum((1, 2))]).astype(np.float64)

    def score(self, counts: NDArray[np.float64]) -> float:
        shared, union = np.split(counts, 2)
        return float(np.mean(shared[union > 0] / union[union > 0])) if union.any() else 0.0


class Head(TaskHead, Segments):
    """c8, c16, c32 -> logits (N, C, H / 8, W / 8)."""

    MAPS, LAST = ("c8", "c16", "c32"), ("map",)

    def __init__(self, recipe: HeadRecipe, channels: Channels, labels: tuple[str, ...]) -> None:
        super().__init__(recipe, channels, labels)
        self.fused = Fused(channels, recipe.channels, 2)
        self.map = nn.Conv2d(recipe.channels, 1 if len(labels) == 1 else len(labels) + 1, 1)

    def forward(self, c8: Tensor, c16: Tensor, c32: Tensor) -> tuple[Tensor]:
        return (self.map(self.fused(c8, c16, c32)),)
