"""Drop whole residual blocks: those whose loss is least for the cycles that they take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch

from edge_app.compiler.net import Net, Node
from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.options import Range
from edge_app.slim import layers
from edge_app.slim.graph.network import GraphNetwork
from edge_app.slim.steps import _step
from edge_app.slim.steps._step import Steps, Work

_BATCHES = 4  # of training data, on which the loss is measured


@dataclass(frozen=True, slots=True)
class Step(_step.Step):
    """count: of blocks. blocks: by the tensor that their addition returns; () chooses them."""

    steps: Steps = 300
    count: Annotated[int, Range(1, 100)] = 1
    blocks: tuple[str, ...] = ()
    STRUCTURE = True

    def change(self, network: GraphNetwork, work: Work) -> GraphNetwork:
        net = network.to_net(fold=False)
        for number in range(len(self.blocks) or self.count):
            found = residual_blocks(net)
            if self.blocks:
                name = self.blocks[number]
                if name not in found:
                    raise ConfigError(f"drop: blocks: found '{name}'; expected one of {', '.join(found) or 'none'}")
            elif not found:
                raise ConfigError(f"drop: found {number} residual blocks; expected {self.count}, or a lower `count`")
            else:
                name = _cheapest(net, found, work)
            net = without(net, name, found[name])
        return GraphNetwork(net)


def residual_blocks(net: Net) -> dict[str, str]:
    """The additions that can be dropped, by the tensor that they return, with the tensor that skips the block."""
    producers, consumers = net.producers(), net.consumers()
    found = {}
    for node in net.nodes:
        if node.op != "Add":
            continue
        for skip, body in (node.inputs, node.inputs[::-1]):
            inside, name = 0, body
            while name in producers and name != skip and len(consumers.get(name, [])) == 1 and producers[name].inputs:
                inside, name = inside + 1, producers[name].inputs[0]
            if inside and name == skip:
                found[node.outputs[0]] = skip
    return found


def without(net: Net, name: str, skip: str) -> Net:
    """The graph without a block. The tensor that it returned keeps its name."""
    net = net.copy()
    node = net.producers()[name]
    net.nodes[net.nodes.index(node)] = Node("Identity", [skip], [name])
    if name not in net.outputs:
        net.nodes = [each for each in net.nodes if each.outputs[0] != name]
        producer = net.producers().get(skip)
        if producer is None:
            net.redirect(name, skip)
        else:
            net.redirect(skip, name)
            producer.outputs = [name if output == skip else output for output in producer.outputs]
    net.prune()
    return net


def _cheapest(net: Net, found: dict[str, str], work: Work) -> str:
    """The block whose loss is least for the cycles that it takes."""
    before, whole = _loss(net, work), _cycles(net, work)

    def value(name: str) -> float:
        smaller = without(net, name, found[name])
        lost = max(_loss(smaller, work) - before, 1e-6 * abs(before))
        return (whole - _cycles(smaller, work)) / lost

    return max(found, key=value)


def _cycles(net: Net, work: Work) -> int:
    folded = GraphNetwork(net).to_net(fold=True)
    return cycles.total(layers.of_net(folded, "network").layers, work.target)


@torch.no_grad()
def _loss(net: Net, work: Work) -> float:
    network, total = GraphNetwork(net).eval(), 0.0
    for number in range(_BATCHES):
        for batch in work.task.batches(work.seed, number):
            outputs = network(work.model.planes(batch.images), batch.wanted(work.model))
            total += float(work.task.loss(outputs, batch))
    return total
