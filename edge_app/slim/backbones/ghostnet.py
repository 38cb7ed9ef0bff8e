"""GhostNet (Han et al. 2020), without squeeze-and-excite: half of each map is filtered from the other half."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_app.slim.backbones._blocks import Staged, conv, linear, scaled

_Rows = tuple[tuple[int, int, int, int], ...]
_TO_C8: _Rows = ((3, 16, 16, 1), (3, 48, 24, 2), (3, 72, 24, 1), (5, 72, 40, 2), (5, 120, 40, 1))
_TO_C16: _Rows = (
    (3, 240, 80, 2),
    (3, 200, 80, 1),
    (3, 184, 80, 1),
    (3, 184, 80, 1),
    (3, 480, 112, 1),
    (3, 672, 112, 1),
)
_TO_C32: _Rows = ((5, 672, 160, 2), (5, 960, 160, 1), (5, 960, 160, 1), (5, 960, 160, 1), (5, 960, 160, 1))


class Ghost(nn.Module):
    """A pointwise convolution to half of the channels; the other half are 3x3 depthwise filters of these."""

    def __init__(self, inputs: int, outputs: int, *, active: bool) -> None:
        super().__init__()
        build, half = (conv if active else linear), outputs // 2
        self.primary, self.cheap = build(inputs, half, 1), build(half, half, 3, groups=half)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)


class Bottleneck(nn.Module):
    """Two ghost modules, with a depthwise convolution between them where the stride is 2, and a shortcut."""

    def __init__(self, inputs: int, expanded: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        middle = [linear(expanded, expanded, kernel, stride, groups=expanded)] if stride == 2 else []
        self.body = nn.Sequential(Ghost(inputs, expanded, active=True), *middle, Ghost(expanded, outputs, active=False))
        self.skip = nn.Identity()
        if stride == 2 or inputs != outputs:
            self.skip = nn.Sequential(linear(inputs, inputs, kernel, stride, groups=inputs), linear(inputs, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.body(x)


class Backbone(Staged):
    """Rows of kernel, expanded channels, channels, stride."""

    def __init__(self, width: float) -> None:
        stem = scaled(16, width)
        first, c8 = _stage(stem, _TO_C8, width)
        second, c16 = _stage(c8, _TO_C16, width)
        third, c32 = _stage(c16, _TO_C32, width)
        super().__init__([conv(3, stem, stride=2), *first], second, third)
        self.channels = (c8, c16, c32)


def _stage(inputs: int, rows: _Rows, width: float) -> tuple[list[nn.Module], int]:
    layers: list[nn.Module] = []
    for kernel, expanded, channels, stride in rows:
        outputs = scaled(channels, width)
        layers.append(Bottleneck(inputs, scaled(expanded, width), outputs, kernel, stride))
        inputs = outputs
    return layers, inputs
