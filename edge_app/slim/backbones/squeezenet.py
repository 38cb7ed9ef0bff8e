"""SqueezeNet 1.1 (Iandola et al. 2016), with BatchNorm, and one more module for stride 32, where the original ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_app.slim.backbones._blocks import Staged, conv, scaled


class Fire(nn.Module):
    """Squeeze to few channels, then expand by 1x1 and 3x3 convolutions side by side."""

    def __init__(self, inputs: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = conv(inputs, squeezed, 1)
        self.one, self.three = conv(squeezed, expanded, 1), conv(squeezed, expanded, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)
        return torch.cat([self.one(x), self.three(x)], 1)


class Backbone(Staged):
    """Fire modules between poolings."""

    def __init__(self, width: float) -> None:
        stem = scaled(64, width)
        (a, two, four), (b, six, eight) = _widths(16, 64, 128, width), _widths(48, 192, 256, width)
        c32 = scaled(64, width)
        super().__init__(
            [
                conv(3, stem, stride=2), nn.MaxPool2d(3, 2, 1), Fire(stem, a, two), Fire(2 * two, a, two),
                nn.MaxPool2d(3, 2, 1), Fire(2 * two, 2 * a, four), Fire(2 * four, 2 * a, four),
            ],
            [
                nn.MaxPool2d(3, 2, 1), Fire(2 * four, b, six), Fire(2 * six, b, six), Fire(2 * six, c32, eight),
                Fire(2 * eight, c32, eight),
            ],
            [nn.MaxPool2d(3, 2, 1), Fire(2 * eight, c32, eight)],
        )  # fmt: skip
        self.channels = (2 * four, 2 * eight, 2 * eight)


def _widths(squeezed: int, first: int, second: int, width: float) -> tuple[int, int, int]:
    return scaled(squeezed, width), scaled(first, width), scaled(second, width)
