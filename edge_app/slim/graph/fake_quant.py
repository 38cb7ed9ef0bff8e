"""Round tensors and weights in training as the compiler's int8 graphs do, so that a network learns to bear it.

Activations: uint8, asymmetric, one range per tensor, which is learned (as in LSQ+, Bhalgat et al. 2020). Weights: int8,
symmetric, one scale per output channel. Gradients pass the rounding unchanged (Bengio et al. 2013). Needs torch.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

_LEVELS = 255
_LARGEST = 127
_LEAST = 1e-6  # width of a range


def _round(x: Tensor) -> Tensor:
    """Rounded, with the gradient of x."""
    return x + (x.round() - x).detach()


class TensorRange(nn.Module):
    """Rounds a tensor to 256 levels between two limits, which are parameters. The range always contains 0."""

    def __init__(self, low: float, high: float) -> None:
        super().__init__()
        self.low, self.high = nn.Parameter(torch.tensor(float(low))), nn.Parameter(torch.tensor(float(high)))

    def forward(self, x: Tensor) -> Tensor:
        low, high = self.low.clamp(max=0), self.high.clamp(min=0)
        scale = (high - low).clamp(min=_LEAST) / _LEVELS
        zero = _round(-low / scale).clamp(0, _LEVELS)
        return (_round(x / scale + zero).clamp(0, _LEVELS) - zero) * scale

    def limits(self) -> tuple[float, float]:
        """The least and greatest value."""
        return min(float(self.low.detach()), 0.0), max(float(self.high.detach()), 0.0)


def rounded_weights(weight: Tensor, *, per_channel: bool = True) -> Tensor:
    """Weights (out, …) as int8 stores them, with the gradient of the weights."""
    largest = (
        weight.detach().abs().flatten(1).amax(1) if per_channel else weight.detach().abs().max().expand(len(weight))
    )
    scale = (largest / _LARGEST).clamp(min=1e-12).reshape(-1, *[1] * (weight.ndim - 1))
    return _round(weight / scale).clamp(-_LARGEST, _LARGEST) * scale
