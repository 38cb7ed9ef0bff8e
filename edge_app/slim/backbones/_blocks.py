"""Building blocks that several backbones and heads share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

Channels = tuple[int, int, int]


def scaled(channels: float, width: float) -> int:
    """Channels times the width, rounded to a multiple of 8, 8 at least."""
    return max(8, round(channels * width / 8) * 8)


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm and ReLU6: what follows must know that values are in 0..6, as int8 graphs do."""
    return nn.Sequential(*linear(inputs, outputs, kernel, stride, groups), nn.ReLU6())


def linear(inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution and BatchNorm, without an activation."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False), nn.BatchNorm2d(outputs)
    )


class Staged(nn.Module):
    """A backbone of three stages, whose maps have strides 8, 16 and 32.

    PRUNABLE: whether torch-pruning can follow its channels.
    """

    PRUNABLE: ClassVar[bool] = True

    def __init__(self, to_c8: Sequence[nn.Module], to_c16: Sequence[nn.Module], to_c32: Sequence[nn.Module]) -> None:
        super().__init__()
        self.to_c8, self.to_c16, self.to_c32 = nn.Sequential(*to_c8), nn.Sequential(*to_c16), nn.Sequential(*to_c32)
        self.channels: Channels = (0, 0, 0)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        c8 = self.to_c8(image)
        c16 = self.to_c16(c8)
        return c8, c16, self.to_c32(c16)


class Residual(nn.Module):
    """Depthwise, then pointwise, added to the input."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width, kernel, groups=width), conv(width, width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Full(nn.Module):
    """A full 3x3 convolution, added to the input: NPUs run it fastest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Inverted(nn.Module):
    """Inverted residual (Sandler et al. 2018): expand, depthwise, project; added to the input if it has its shape."""

    def __init__(self, inputs: int, expanded: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        layers = [] if expanded == inputs else [conv(inputs, expanded, 1)]
        layers += [conv(expanded, expanded, kernel, stride, groups=expanded), linear(expanded, outputs)]
        self.body = nn.Sequential(*layers)
        self.added = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x) if self.added else self.body(x)


def inverted_stage(
    inputs: int, rows: Sequence[tuple[float, int, int, int, int]], width: float
) -> tuple[list[nn.Module], int]:
    """Inverted residuals by rows of expansion, channels, blocks, stride, kernel. Returns them and their channels."""
    layers: list[nn.Module] = []
    for expansion, channels, blocks, stride, kernel in rows:
        outputs = scaled(channels, width)
        for i in range(blocks):
            expanded = round(inputs * expansion)
            layers.append(Inverted(inputs, expanded, outputs, kernel, stride if i == 0 else 1))
            inputs = outputs
    return layers, inputs
