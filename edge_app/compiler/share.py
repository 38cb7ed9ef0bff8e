"""Find the backbone that several models have in common, from the graphs alone.

The hash of a tensor covers everything that it depends on: operations, attributes, weights and the image. Tensors with
equal hashes have equal values, even if their names differ. Not here: splitting one model (split.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from edge_app.compiler import split
from edge_app.compiler.net import Net, Node
from edge_app.compiler.split import Parts
from edge_app.errors import ModelError


def backbone(nets: Sequence[Net], preprocessing: Sequence[str]) -> Parts:
    """Split models at the end of their longest common prefix. nets: on (1, 3, H, W); preprocessing: as text.

    Raises ModelError with the reason if models have nothing in common.
    """
    first = nets[0]
    for net, words in zip(nets[1:], preprocessing[1:]):
        if net.inputs[0].shape != first.inputs[0].shape or words != preprocessing[0]:
            raise ModelError(
                f"{first.name} and {net.name} cannot share a backbone: {_size(first)} {preprocessing[0]} and "
                f"{_size(net)} {words}; expected the same input for both"
            )
    hashes = [tensor_hashes(net) for net in nets]
    common = set.intersection(*(set(model_hashes.values()) for model_hashes in hashes)) - {
        hashes[0][first.inputs[0].name]
    }
    if not any(_learns(nets[0], name) for name, code in hashes[0].items() if code in common):
        raise ModelError(
            f"{first.name} and {nets[1].name} share no layer: {_difference(nets)}; compile them one by one"
        )
    frontier = [_frontier(net, model_hashes, common) for net, model_hashes in zip(nets, hashes)]
    shared = set().union(*frontier)
    image = hashes[0][first.inputs[0].name]
    if image in shared:
        raise ModelError(
            f"{', '.join(net.name for net in nets)}: a layer that is not shared uses the image itself; "
            "compile them one by one"
        )
    names = {code: name for name, code in reversed(hashes[0].items())}
    renamed = [first, *(_renamed(net, model_hashes, names, common) for net, model_hashes in zip(nets[1:], hashes[1:]))]
    features = [name for name, code in hashes[0].items() if code in shared and names[code] == name]
    return split.parts(first, features, renamed)


def tensor_hashes(net: Net) -> dict[str, str]:
    """The hash of the input and of every node output, in topological order."""
    (value,) = net.inputs
    hashes = {value.name: _hash("image", value.dtype, str(value.shape))}
    weights: dict[str, str] = {}
    for node in net.nodes:
        sources = []
        for name in node.inputs:
            if name in net.weights and name not in weights:
                array = np.ascontiguousarray(net.weights[name])
                weights[name] = _hash(str(array.dtype), str(net.weights[name].shape), array.tobytes())
            sources.append(hashes.get(name) or weights.get(name) or "")
        attrs = ";".join(f"{key}={_plain(node.attrs[key])}" for key in sorted(node.attrs))
        for position, output in enumerate(node.outputs):
            hashes[output] = _hash(node.domain, node.op, attrs, str(position), *sources)
    return hashes


def _frontier(net: Net, hashes: dict[str, str], common: set[str]) -> set[str]:
    """Hashes of the common tensors that a node of this model alone uses, or that are outputs."""
    image = hashes[net.inputs[0].name]
    reached = {hashes[name] for name in net.outputs if hashes[name] in common}
    for node in net.nodes:
        if hashes[node.outputs[0]] not in common:
            codes = (hashes[name] for name in node.inputs if name in hashes)
            reached |= {code for code in codes if code in common or code == image}
    return reached


def _renamed(net: Net, hashes: dict[str, str], names: dict[str, str], common: set[str]) -> Net:
    """The model with the first model's names for shared tensors."""
    net = net.copy()
    shared = {name: names[code] for name, code in hashes.items() if code in common}
    for name in [name for name in hashes if name not in shared and name in names.values()]:
        net.rename(name, net.fresh(f"{name}_of_{net.name}"))
    moved = {name: net.fresh(f"shared:{new}") for name, new in shared.items()}
    for name, between in moved.items():
        net.rename(name, between)
    for name, between in moved.items():
        if net.fresh(shared[name]) == shared[name]:
            net.rename(between, shared[name])
    return net


def _difference(nets: Sequence[Net]) -> str:
    """How the first convolutions of the first two models differ, as text."""
    first = [next((node for node in net.nodes if node.op == "Conv"), net.nodes[0]) for net in nets[:2]]
    forms = [(node.op, _plain(node.attrs), _weight_shape(net, node)) for net, node in zip(nets, first)]
    if forms[0] != forms[1]:
        return f"their first convolutions are {forms[0][2]} and {forms[1][2]}"
    return "their first convolutions have different weights"


def _weight_shape(net: Net, node: Node) -> tuple[int, ...]:
    return next((net.weights[name].shape for name in node.inputs if name in net.weights), ())


def _learns(net: Net, name: str) -> bool:
    node = net.producers().get(name)
    return node is not None and node.op == "Conv"


def _size(net: Net) -> str:
    height, width = net.inputs[0].shape[2:]
    return f"{width}x{height}"


def _plain(value: object) -> str:
    return value.SerializeToString().hex() if hasattr(value, "SerializeToString") else repr(value)


def _hash(*parts: str | bytes) -> str:
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()
