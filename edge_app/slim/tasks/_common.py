"""The contract of a head that can be trained, and layers that several share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app.slim.backbones._blocks import Channels, Residual
from edge_app.slim.data.pictures import Sample
from edge_app.slim.recipe import HeadRecipe

Arrays = dict[str, NDArray[Any]]
STRIDE = 8  # of a cell of detections and segments


class Objective(nn.Module):
    """What a head learns: targets, loss and metric, whatever layers compute its outputs.

    FAMILY, OPTIONS: of the runtime's decoder. OUTPUTS: names, in order. METRIC: what `score` is, of 0..1.
    """

    FAMILY: ClassVar[str]
    OPTIONS: ClassVar[dict[str, bool]] = {}
    OUTPUTS: ClassVar[tuple[str, ...]]
    METRIC: ClassVar[str]

    def __init__(self, labels: tuple[str, ...], dimensions: int) -> None:
        """dimensions: of an embedding."""
        super().__init__()
        self.labels, self.dimensions = labels, dimensions

    def published_labels(self) -> tuple[str, ...]:
        """The labels for model.yaml."""
        return self.labels

    def targets(self, sample: Sample) -> Arrays:
        """What the head must learn from one sample; the arrays of a batch are stacked."""
        raise NotImplementedError

    def loss(self, outputs: Sequence[Tensor], targets: dict[str, Tensor]) -> Tensor:
        """The loss of a batch, a scalar."""
        raise NotImplementedError

    def count(self, outputs: Sequence[NDArray[np.float32]], sample: Sample) -> NDArray[np.float64]:
        """Counts for one sample, which are added up over all. outputs: of this sample, batch of one."""
        raise NotImplementedError

    def score(self, counts: NDArray[np.float64]) -> float:
        """The metric, from the sum of the counts."""
        return float(counts[0] / max(counts[1], 1))


class TaskHead(Objective):
    """Layers for an objective. MAPS: the maps that they take. LAST: the attributes of those that compute outputs."""

    MAPS: ClassVar[tuple[str, ...]]
    LAST: ClassVar[tuple[str, ...]]

    def __init__(self, recipe: HeadRecipe, channels: Channels, labels: tuple[str, ...]) -> None:
        super().__init__(labels, recipe.dimensions)
        self.recipe, self.channels = recipe, channels


class Fused(nn.Module):
    """The three maps, each brought to one width and to stride 8 (nearest), added, and refined."""

    def __init__(self, channels: Channels, width: int, blocks: int) -> None:
        super().__init__()
        self.c8, self.c16, self.c32 = (nn.Conv2d(each, width, 1) for each in channels)
        self.refine = nn.Sequential(nn.ReLU6(), *(Residual(width) for _ in range(blocks)))

    def forward(self, c8: Tensor, c16: Tensor, c32: Tensor) -> Tensor:
        far = self.c16(c16) + F.interpolate(self.c32(c32), scale_factor=2.0, mode="nearest")
        return self.refine(self.c8(c8) + F.interpolate(far, scale_factor=2.0, mode="nearest"))
