"""MobileNetV2 (Sandler et al. 2018), without its last 1x1 convolution and classifier."""

from __future__ import annotations

from edge_app.slim.backbones._blocks import Staged, conv, inverted_stage, scaled


class Backbone(Staged):
    """Inverted residuals with ReLU6."""

    def __init__(self, width: float) -> None:
        stem = scaled(32, width)
        first, c8 = inverted_stage(stem, [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 32, 3, 2, 3)], width)
        second, c16 = inverted_stage(c8, [(6, 64, 4, 2, 3), (6, 96, 3, 1, 3)], width)
        third, c32 = inverted_stage(c16, [(6, 160, 3, 2, 3), (6, 320, 1, 1, 3)], width)
        super().__init__([conv(3, stem, stride=2), *first], second, third)
        self.channels = (c8, c16, c32)
