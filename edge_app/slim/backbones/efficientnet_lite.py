"""EfficientNet-lite0 (Tan and Le 2019, Google's lite variant): no squeeze-and-excite, ReLU6."""

from __future__ import annotations

from edge_app.slim.backbones._blocks import Staged, conv, inverted_stage, scaled


class Backbone(Staged):
    """Inverted residuals with 3x3 and 5x5 kernels."""

    def __init__(self, width: float) -> None:
        stem = scaled(32, width)
        first, c8 = inverted_stage(stem, [(1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5)], width)
        second, c16 = inverted_stage(c8, [(6, 80, 3, 2, 3), (6, 112, 3, 1, 5)], width)
        third, c32 = inverted_stage(c16, [(6, 192, 4, 2, 5), (6, 320, 1, 1, 3)], width)
        super().__init__([conv(3, stem, stride=2), *first], second, third)
        self.channels = (c8, c16, c32)
