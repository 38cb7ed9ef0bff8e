"""Classify the whole image: the mean of the deepest map, and a linear layer. Trained with cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app.slim.backbones._blocks import Channels, conv
from edge_app.slim.data.pictures import Sample
from edge_app.slim.recipe import HeadRecipe
from edge_app.slim.tasks._common import Arrays, Objective, TaskHead


class Classification(Objective):
    """One class for the image: logits (N, C)."""

    FAMILY, OUTPUTS, METRIC = "classify", ("logits",), "accuracy"

    def targets(self, sample: Sample) -> Arrays:
        return {"label": np.array(sample.label, np.int64)}

    def loss(self, outputs: Sequence[Tensor], targets: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(outputs[0], targets["label"], label_smoothing=0.05)

    def count(self, outputs: Sequence[NDArray[np.float32]], sample: Sample) -> NDArray[np.float64]:
        return np.array([outputs[0].argmax() == sample.label, 1], np.float64)


class Head(TaskHead, Classification):
    """c32 -> class logits (N, C)."""

    MAPS, LAST = ("c32",), ("linear",)

    def __init__(self, recipe: HeadRecipe, channels: Channels, labels: tuple[str, ...]) -> None:
        super().__init__(recipe, channels, labels)
        self.mix = conv(channels[2], recipe.channels, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(recipe.channels, len(labels))

    def forward(self, c32: Tensor) -> tuple[Tensor]:
        return (self.linear(self.pool(self.mix(c32)).flatten(1)),)
