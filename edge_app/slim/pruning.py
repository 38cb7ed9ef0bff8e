"""Drop channels in the blocks of an NPU, until the network takes no more than a share of its cycles.

Channels that must go together are found by torch-pruning's DependencyGraph (Fang et al. 2023, DepGraph). The width is
lowered where it saves most cycles for the importance that is lost: by L1 of the weights, BatchNorm's gains, or Taylor
expansion (Molchanov et al. 2019), for which the caller has gradients computed.
Not here: the training that must follow (training.py), the step of `slim shrink` (steps/prune.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.model.cycles import Layer
from edge_app.options.extras import install

Rank = Literal["l1", "gain", "taylor"]
Measure = Literal["cycles", "macs", "parameters"]
Widths = dict[str, int]  # output channels of each convolution, by its name in the network


class Prunable(Protocol):
    """A torch module whose channels can be dropped."""

    def published(self) -> list[nn.Module]:
        """The layers whose channels are the outputs'."""
        ...

    def check_prunable(self) -> None:
        """Raise EdgeError if channels cannot be followed."""
        ...


@dataclass(slots=True)
class _Group:
    """Channels that go together. inputs, outputs: by convolution, how many of its channels one channel of the group is.

    importance: of each channel, whose sum over the group is 1. order: channels, the least important first.
    """

    root: nn.Module
    width: int
    kept: int
    inputs: dict[str, float]
    outputs: dict[str, float]
    importance: Tensor
    order: list[int]

    def lost(self, kept: int) -> float:
        """The importance of the channels between `kept` and those that are kept now."""
        return float(self.importance[self.order[self.width - self.kept : self.width - kept]].sum())


@dataclass(frozen=True, slots=True)
class Goal:
    """How channels are chosen. of: what is saved. block: channels in which widths are lowered; 0 takes the NPU's."""

    target: str
    rank: Rank = "l1"
    of: Measure = "cycles"
    block: int = 0

    @property
    def step(self) -> int:
        """Channels. Raises ConfigError for a target without a formula."""
        return self.block or cycles.npu(self.target).dense

    def cost(self, layers: Iterable[Layer]) -> int:
        """What the layers take."""
        if self.of == "cycles":
            return cycles.total(layers, self.target)
        return sum(layer.macs if self.of == "macs" else layer.parameters for layer in layers)


def prune(network: Any, image: Tensor, target: str, share: float, rank: Rank = "l1") -> Widths:
    """`prune_to` a share of the cycles, in the blocks of the NPU."""
    return prune_to(network, image, Goal(target, rank), share)


def prune_to(network: Any, image: Tensor, goal: Goal, share: float) -> Widths:
    """Drop channels of `network` in place. image: an example, (1, 3, H, W). share: of the cost that may be left.

    Returns the widths. Raises ConfigError for a target without a formula, or a share that no allowed width reaches.
    """
    block = goal.step
    layers = measured(network, image)
    graph, groups = _groups(network, image, goal.rank)
    whole = goal.cost(layers.values())
    left = whole
    while left > share * whole:
        best: tuple[float, _Group, int, int] | None = None
        for group in groups:
            kept = (group.kept - 1) // block * block
            if kept < block:
                continue
            now, group.kept = group.kept, kept
            after = goal.cost(_resized(layers, groups).values())
            group.kept = now
            value = (left - after) / whole / (group.lost(kept) / len(groups) + 1e-9)
            if best is None or value > best[0]:
                best = value, group, kept, after
        if best is None:
            found = f"prune: found the share {share:g}; no width in steps of {block} channels reaches it"
            raise ConfigError(f"{found}; expected {left / whole:.2f} or more")
        _, group, group.kept, left = best
    for group in groups:
        _drop(graph, group.root, group.order[: group.width - group.kept])
    return widths(network)


def to_widths(network: Any, image: Tensor, goal: Goal, wanted: Mapping[str, int]) -> Widths:
    """Drop channels of some convolutions, by name in the network, and of all that depend on them.

    Returns the widths. Raises ConfigError for a width that no group allows: not in whole blocks, or greater than now.
    """
    block = goal.step
    graph, groups = _groups(network, image, goal.rank)
    for name, width in wanted.items():
        group = next((group for group in groups if name in group.outputs), None)
        if group is None:
            raise ConfigError(f"prune: widths: {name} has the channels of an output; expected another layer")
        allowed = [*range(block, group.width, block), group.width]
        if width not in allowed or group.kept not in (width, group.width):
            found = f"prune: widths: found {width} for {name}"
            if width in allowed:
                raise ConfigError(f"{found}, and {group.kept} for a layer that depends on it; expected one width")
            raise ConfigError(f"{found}; expected one of {', '.join(map(str, allowed))} on {goal.target}")
        group.kept = width
    for group in groups:
        _drop(graph, group.root, group.order[: group.width - group.kept])
    return widths(network)


def widths(network: Any) -> Widths:
    """The output channels of every convolution: with them, `shrink` makes an equal network from the recipe's."""
    return {name: module.out_channels for name, module in _convolutions(network).items()}


def shrink(network: Any, image: Tensor, wanted: Mapping[str, int]) -> None:
    """Give a new network the widths of a pruned one, so that its weights can be loaded. Raises ConfigError if none."""
    if widths(network) == dict(wanted):
        return
    graph, groups = _groups(network, image, "l1")
    names = {id(module): name for name, module in _convolutions(network).items()}
    for group in groups:
        extra = group.width - wanted.get(names[id(group.root)], group.width)
        if extra > 0:
            _drop(graph, group.root, list(range(extra)))
    if widths(network) != dict(wanted):
        raise ConfigError("checkpoint: found widths that no pruning of this recipe's network gives; expected its own")


def measured(network: Any, image: Tensor) -> dict[str, Layer]:
    """The layers that an NPU computes, by name in the network."""
    found: dict[str, Layer] = {}
    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):

            def record(module: Any, inputs: Any, output: Tensor, name: str = name) -> None:
                found[name] = _layer(name, module, inputs[0], output)

            hooks.append(module.register_forward_hook(record))
    training = network.training
    with torch.no_grad():
        network.eval()(image)
    network.train(training)
    for hook in hooks:
        hook.remove()
    return found


def _layer(name: str, module: Any, inputs: Tensor, output: Tensor) -> Layer:
    (_, c, h, w), (_, n, y, x) = ((*t.shape, 1, 1)[:4] for t in (inputs, output))
    if isinstance(module, nn.Linear):
        return Layer(name, "Gemm", "conv", (c, 1, 1), (n, 1, 1))
    depthwise = module.groups == c == n and c > 1
    kind: Literal["conv", "depthwise"] = "depthwise" if depthwise else "conv"
    return Layer(name, "Conv", kind, (c, h, w), (n, y, x), tuple(module.kernel_size), module.groups, image=c == 3)


def _convolutions(network: Any) -> dict[str, Any]:
    return {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def _groups(network: Any, image: Tensor, rank: Rank) -> tuple[Any, list[_Group]]:
    """The dependency graph, and the groups whose widths are not those of an output of the network."""
    tp = _library()
    network.check_prunable()
    network.eval()
    graph = tp.DependencyGraph().build_dependency(network, example_inputs=image, verbose=False)
    names = {id(module): name for name, module in network.named_modules()}
    kinds = {"gain": tp.importance.BNScaleImportance, "taylor": tp.importance.GroupTaylorImportance}
    score = kinds[rank]() if rank in kinds else tp.importance.GroupMagnitudeImportance(p=1)
    groups = []
    for found in graph.get_all_groups(ignored_layers=network.published(), root_module_types=[nn.Conv2d]):
        root, width = found[0].dep.target.module, len(found[0].idxs)
        inputs: dict[str, float] = {}
        outputs: dict[str, float] = {}
        for dep, idxs in found:
            module = dep.target.module
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                out = graph.is_out_channel_pruning_fn(dep.handler)
                shares = outputs if out else inputs
                shares[names[id(module)]] = shares.get(names[id(module)], 0.0) + len(idxs) / width
        importance = score(found).detach().float()
        importance = importance / importance.sum().clamp(min=1e-12)
        order = torch.argsort(importance, stable=True).tolist()
        groups.append(_Group(root, width, width, inputs, outputs, importance, order))
    return graph, groups


def _resized(layers: Mapping[str, Layer], groups: list[_Group]) -> dict[str, Layer]:
    """The layers after dropping what the groups do not keep."""
    inputs = {name: float(layer.inputs[0]) for name, layer in layers.items()}
    outputs = {name: float(layer.outputs[0]) for name, layer in layers.items()}
    for group in groups:
        for name, share in group.inputs.items():
            inputs[name] -= share * (group.width - group.kept)
        for name, share in group.outputs.items():
            outputs[name] -= share * (group.width - group.kept)
    found = {}
    for name, layer in layers.items():
        c_out = round(outputs[name])
        c_in = c_out if layer.kind == "depthwise" else round(inputs[name])
        found[name] = replace(layer, inputs=(c_in, *layer.inputs[1:]), outputs=(c_out, *layer.outputs[1:]))
    return found


def _drop(graph: Any, root: Any, channels: list[int]) -> None:
    if not channels:
        return
    group = graph.get_pruning_group(root, _library().prune_conv_out_channels, sorted(channels))
    if not graph.check_pruning_group(group):
        raise ConfigError("prune: a layer would lose all of its channels; expected a greater share")
    group.prune()


def _library() -> Any:
    """torch_pruning. Raises ConfigError if it is not installed."""
    try:
        import torch_pruning
    except ImportError as exc:
        raise ConfigError(f"prune: torch-pruning is not installed; expected: {install('slim')}") from exc
    return torch_pruning
