"""Backbones of operators that the NPUs run: one file each, a class `Backbone(width)`. Needs torch.

image (N, 3, H, W) float32 0..1 -> maps of strides 8, 16 and 32, whose channels are `Backbone.channels`.
"""

from __future__ import annotations

import importlib

from edge_app.slim.backbones._blocks import Staged


def build(name: str, width: float) -> Staged:
    """The backbone of a file in this folder. width: multiplies its channels, which are rounded to multiples of 8."""
    backbone: Staged = importlib.import_module(f"edge_app.slim.backbones.{name}").Backbone(width)
    return backbone
