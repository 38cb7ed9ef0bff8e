"""Cut a graph of a family before its tail. Not here: where to cut (the other modules)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_app.compiler.net import Net, subgraph
from edge_app.compiler.tails import detectors, tasks, yolo
from edge_app.compiler.tails.branches import CutPoints


@dataclass(frozen=True, slots=True)
class Cut:
    """A graph without its tail, and the tail, whose inputs are the outputs of `net`, in order.

    options: for the family's decoder. assumed: for the report.
    """

    net: Net
    tail: Net
    options: Mapping[str, Any]
    assumed: tuple[str, ...] = ()


def cut(net: Net, family: str, options: Mapping[str, Any] | None = None) -> Cut | None:
    """Cut a graph of this family; None if it has no such tail. options: of its decoder, given by the user.

    Raises ModelError if the graph is not one that the decoder can read after all.
    """
    find = _FINDERS.get(family)
    found = find(net, dict(options or {})) if find else None
    if found is None:
        return None
    net = net.copy()
    outputs = []
    for name, readable in found.names.items():
        outputs.append(net.fresh(readable))
        net.rename(name, outputs[-1])
    values = net.values()
    tail = subgraph(net, f"{net.name}-tail", [values[name] for name in outputs], net.outputs)
    short = net.copy()
    short.outputs, short.declared = outputs, {}
    short.prune()
    return Cut(short, tail, found.options, found.assumed)


_FINDERS: Mapping[str, Callable[[Net, dict[str, Any]], CutPoints | None]] = {
    "fastestdet": detectors.fastestdet,
    "instances": tasks.instances,
    "obb": tasks.obb,
    "pose": tasks.pose,
    "yolo": yolo.find,
    "ultraface": detectors.ultraface,
}
