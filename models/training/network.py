"""The digits model: one backbone and three heads, of operators that the RV1106's NPU runs.

Not here: losses and training (train.py), the ONNX graphs (export.py). Needs torch: host only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDE = 8  # input pixels per cell of the digits and panel outputs
CLASSES = 10
SCENES = ("ok", "dark", "blurred", "covered")


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Convolution, BatchNorm (folded at export), ReLU6."""
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU6(inplace=True),
    )


class Residual(nn.Module):
    """Depthwise k x k, then pointwise, added to the input: context at a ninth of the cost of a full convolution."""

    def __init__(self, width: int, kernel: int = 3) -> None:
        super().__init__()
        self.depthwise = conv(width, width, kernel, groups=width)
        self.pointwise = conv(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.pointwise(self.depthwise(x))


class Full(nn.Module):
    """A full 3x3 convolution, added to the input. It helps to distinguish digits, and NPUs run it fastest."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x)  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """image (N, 3, H, W) float32 0..1 -> c8 (N, 72, H/8, W/8), c16 (N, 144, H/16, W/16)."""

    C8, C16 = 72, 144

    def __init__(self) -> None:
        super().__init__()
        self.to_c8 = nn.Sequential(
            conv(3, 16, stride=2),
            conv(16, 32, stride=2),
            Residual(32),
            Full(32),
            conv(32, self.C8, stride=2),
            Full(self.C8),
            *(Residual(self.C8) for _ in range(5)),
        )
        self.to_c16 = nn.Sequential(
            conv(self.C8, self.C16, stride=2),
            *(Residual(self.C16, 5) for _ in range(4)),
            Residual(self.C16),
        )

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        c8 = self.to_c8(image)
        return c8, self.to_c16(c8)


class Fused(nn.Module):
    """c8 plus upsampled c16 (nearest, x2), then depthwise-separable blocks."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.near = nn.Conv2d(Backbone.C8, width, 1)
        self.far = nn.Conv2d(Backbone.C16, width, 1)
        self.refine = nn.Sequential(nn.ReLU6(inplace=True), *(Residual(width) for _ in range(blocks)))

    def forward(self, c8: Tensor, c16: Tensor) -> Tensor:
        x = self.near(c8) + F.interpolate(self.far(c16), scale_factor=2.0, mode="nearest")
        return self.refine(x)  # type: ignore[no-any-return]


class DigitsHead(nn.Module):
    """scores (N, 10, H/8, W/8) logits; boxes (N, 4, H/8, W/8) l, t, r, b from the cell's center, in strides."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = Fused(72, 4)
        self.scores = nn.Conv2d(72, CLASSES, 1)
        self.boxes = nn.Conv2d(72, 4, 1)
        nn.init.constant_(self.scores.bias, -4.6)  # the prior: one cell in a hundred has a digit
        nn.init.constant_(self.boxes.bias, 1.5)  # positive, so that the ReLU passes a gradient

    def forward(self, c8: Tensor, c16: Tensor) -> tuple[Tensor, Tensor]:
        x = self.fused(c8, c16)
        return self.scores(x), F.relu(self.boxes(x))


class PanelHead(nn.Module):
    """mask (N, 1, H/8, W/8) logits: positive inside the label or window with the digits."""

    def __init__(self) -> None:
        super().__init__()
        self.fused = Fused(24, 1)
        self.mask = nn.Conv2d(24, 1, 1)

    def forward(self, c8: Tensor, c16: Tensor) -> Tensor:
        return self.mask(self.fused(c8, c16))  # type: ignore[no-any-return]


class SceneHead(nn.Module):
    """scene (N, 4) logits over SCENES, from both maps: c8 for blur, c16 for a covered lens."""

    def __init__(self) -> None:
        super().__init__()
        self.near = conv(Backbone.C8, 32, 1)
        self.far = conv(Backbone.C16, 32, 1)
        self.scene = nn.Linear(64, len(SCENES))

    def forward(self, c8: Tensor, c16: Tensor) -> Tensor:
        near = self.near(c8).mean((2, 3))
        far = self.far(c16).mean((2, 3))
        return self.scene(torch.cat([near, far], 1))  # type: ignore[no-any-return]


class Network(nn.Module):
    """Backbone and heads together, as they are trained."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone()
        self.digits = DigitsHead()
        self.panel = PanelHead()
        self.scene = SceneHead()

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        c8, c16 = self.backbone(image)
        scores, boxes = self.digits(c8, c16)
        return {"scores": scores, "boxes": boxes, "mask": self.panel(c8, c16), "scene": self.scene(c8, c16)}
