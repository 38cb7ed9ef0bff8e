"""Find widths that save more cycles than they lose channels, and widths that could be greater at no cost."""

from __future__ import annotations

from dataclasses import dataclass

from edge_app.model import cycles
from edge_app.model.cycles import Layer
from edge_app.slim.channels import ChannelGroup
from edge_app.slim.layers import Network

_STEP = 8  # channels
_LEAST_GAIN = 1.25  # times the share of channels that is lost
_LEAST_SAVING = 0.005  # of the network's cycles


@dataclass(frozen=True, slots=True)
class WidthAdvice:
    """One group of channels. better: the width that saves most for its loss, or None; saved: its cycles, of all layers.

    same_up_to: the greatest width that costs no more computation.
    """

    group: ChannelGroup
    first: str
    same_up_to: int
    better: int | None
    saved: int


def advise(network: Network, target: str) -> list[WidthAdvice]:
    """Advice for each group of channels that can change. Raises ConfigError for an unknown target."""
    whole = cycles.total(network.layers, target)
    return [_advise(group, network, target, whole) for group in network.groups]


def _advise(group: ChannelGroup, network: Network, target: str, whole: int) -> WidthAdvice:
    touched = sorted({*group.producers, *group.consumers, *group.depthwise})
    now = _cost(group.resized(network.layers, group.channels), touched, target)
    gains: dict[int, float] = {}
    savings: dict[int, int] = {}
    for channels in range((group.channels - 1) // _STEP * _STEP, group.channels // 2 - 1, -_STEP):
        if channels < _STEP:
            break
        savings[channels] = now[0] - _cost(group.resized(network.layers, channels), touched, target)[0]
        gains[channels] = savings[channels] / max(now[0], 1) / (1 - channels / group.channels)
    good = [c for c, gain in gains.items() if gain >= _LEAST_GAIN and savings[c] >= _LEAST_SAVING * whole]
    better = max(good, key=lambda c: (gains[c], c), default=None)
    greatest = group.channels
    while _cost(group.resized(network.layers, greatest + 1), touched, target)[1] == now[1]:
        greatest += 1
    return WidthAdvice(
        group, network.layers[group.producers[0]].name, greatest, better, savings[better] if better else 0
    )


def _cost(layers: list[Layer], touched: list[int], target: str) -> tuple[int, int]:
    """Cycles of some layers, and those of their computation alone."""
    costs = cycles.costs((layers[i] for i in touched), target)
    return sum(cost.cycles for cost in costs), sum(cost.compute for cost in costs)
