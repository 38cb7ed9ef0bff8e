"""Embed the whole image: vectors of one class are close to each other. Trained as CosFace (Wang et al. 2018).

In training, each class has a center, and the cosine to the right one must exceed the others by a margin. The centers
are not published: the runtime compares vectors with each other.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app.slim.backbones._blocks import Channels, conv
from edge_app.slim.data.pictures import Sample
from edge_app.slim.recipe import HeadRecipe
from edge_app.slim.tasks._common import Arrays, Objective, TaskHead

_SCALE, _MARGIN = 16.0, 0.2


class Likeness(Objective):
    """Vectors (N, D) that are close to those of the same class."""

    FAMILY, OUTPUTS, METRIC = "embed", ("vector",), "nearest center"

    def __init__(self, labels: tuple[str, ...], dimensions: int) -> None:
        super().__init__(labels, dimensions)
        self.centers = nn.Parameter(torch.randn(len(labels), dimensions))

    def published_labels(self) -> tuple[str, ...]:
        return ()

    def targets(self, sample: Sample) -> Arrays:
        return {"label": np.array(sample.label, np.int64)}

    def loss(self, outputs: Sequence[Tensor], targets: dict[str, Tensor]) -> Tensor:
        cosine = F.normalize(outputs[0]) @ F.normalize(self.centers).T
        margin = F.one_hot(targets["label"], len(self.labels)) * _MARGIN
        return F.cross_entropy(_SCALE * (cosine - margin), targets["label"])

    def count(self, outputs: Sequence[NDArray[np.float32]], sample: Sample) -> NDArray[np.float64]:
        centers = F.normalize(self.centers).detach().numpy()
        return np.array([(centers @ outputs[0][0]).argmax() == sample.label, 1], np.float64)


class Head(TaskHead, Likeness):
    """c32 -> vectors (N, D), not normalized: the runtime does that."""

    MAPS, LAST = ("c32",), ("linear",)

    def __init__(self, recipe: HeadRecipe, channels: Channels, labels: tuple[str, ...]) -> None:
        super().__init__(recipe, channels, labels)
        self.mix = conv(channels[2], recipe.channels, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.linear = nn.Linear(recipe.channels, recipe.dimensions)

    def forward(self, c32: Tensor) -> tuple[Tensor]:
        return (self.linear(self.pool(self.mix(c32)).flatten(1)),)
