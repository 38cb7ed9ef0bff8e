"""MobileNetV3-small, minimal (Howard et al. 2019): no squeeze-and-excite, 3x3 kernels, ReLU6 for hard swish."""

from __future__ import annotations

from torch import nn

from edge_app.slim.backbones._blocks import Inverted, Staged, conv, scaled

_Rows = tuple[tuple[int, int, int], ...]
_TO_C8: _Rows = ((16, 16, 2), (72, 24, 2), (88, 24, 1))  # expanded channels, channels, stride
_TO_C16: _Rows = ((96, 40, 2), (240, 40, 1), (240, 40, 1), (120, 48, 1), (144, 48, 1))
_TO_C32: _Rows = ((288, 96, 2), (576, 96, 1), (576, 96, 1))


class Backbone(Staged):
    """Inverted residuals with the expansions that the authors searched."""

    def __init__(self, width: float) -> None:
        stem = scaled(16, width)
        first, c8 = _stage(stem, _TO_C8, width)
        second, c16 = _stage(c8, _TO_C16, width)
        third, c32 = _stage(c16, _TO_C32, width)
        super().__init__([conv(3, stem, stride=2), *first], second, third)
        self.channels = (c8, c16, c32)


def _stage(inputs: int, rows: _Rows, width: float) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = []
    for expanded, channels, stride in rows:
        outputs = scaled(channels, width)
        layers.append(Inverted(inputs, scaled(expanded, width), outputs, stride=stride))
        inputs = outputs
    return layers, inputs
