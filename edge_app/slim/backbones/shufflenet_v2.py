"""ShuffleNetV2 (Ma et al. 2018), 1.0x: half of the channels pass each unit, then the halves are interleaved."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edge_app.slim.backbones._blocks import Staged, conv, linear, scaled


class ShuffleUnit(nn.Module):
    """One unit. With stride 2 both halves are computed from the whole input."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half, self.stride = outputs // 2, stride
        first = inputs if stride == 2 else half
        self.body = nn.Sequential(conv(first, half, 1), linear(half, half, 3, stride, groups=half), conv(half, half, 1))
        self.skip = (
            nn.Sequential(linear(inputs, inputs, 3, 2, groups=inputs), conv(inputs, half, 1)) if stride == 2 else None
        )

    def forward(self, x: Tensor) -> Tensor:
        if self.skip is not None:
            return _interleaved(self.skip(x), self.body(x))
        kept, used = x.chunk(2, dim=1)
        return _interleaved(kept, self.body(used))


def _interleaved(a: Tensor, b: Tensor) -> Tensor:
    """Channels of both, in turns."""
    n, channels, height, width = a.shape
    x = torch.cat([a, b], 1).reshape(n, 2, channels, height, width)
    return x.transpose(1, 2).reshape(n, 2 * channels, height, width)


class Backbone(Staged):
    """Three stages of 4, 8 and 4 units."""

    PRUNABLE = False  # 1.6.1 fails on the reshapes that interleave channels

    def __init__(self, width: float) -> None:
        stem, c8, c16, c32 = (scaled(channels, width) for channels in (24, 116, 232, 464))
        super().__init__(
            [conv(3, stem, stride=2), nn.MaxPool2d(3, 2, 1), *_stage(stem, c8, 4)],
            _stage(c8, c16, 8),
            _stage(c16, c32, 4),
        )
        self.channels = (c8, c16, c32)


def _stage(inputs: int, outputs: int, units: int) -> list[nn.Module]:
    return [ShuffleUnit(inputs if i == 0 else outputs, outputs, 2 if i == 0 else 1) for i in range(units)]
