"""Our own: plain 3x3 convolutions down to stride 8, then depthwise residuals; widths are multiples of 32.

Source: models/training/network.py, with widths that fill the NPUs' blocks, and a map of stride 32.
"""

from __future__ import annotations

from edge_app.slim.backbones._blocks import Full, Residual, Staged, conv, scaled


class Backbone(Staged):
    """Two thirds of the cycles of the shipped backbone of models/digits, at width 1."""

    def __init__(self, width: float) -> None:
        stem, c4, c8, c16, c32 = (scaled(channels, width) for channels in (16, 32, 64, 96, 128))
        super().__init__(
            [
                conv(3, stem, stride=2),
                conv(stem, c4, stride=2),
                Residual(c4),
                Full(c4),
                conv(c4, c8, stride=2),
                Full(c8),
                *(Residual(c8) for _ in range(3)),
            ],
            [conv(c8, c16, stride=2), *(Residual(c16, 5) for _ in range(3))],
            [conv(c16, c32, stride=2), *(Residual(c32) for _ in range(2))],
        )
        self.channels = (c8, c16, c32)
