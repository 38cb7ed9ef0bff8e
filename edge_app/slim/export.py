"""Write a trained network as a model folder that `edge-app compile` takes: ONNX graphs and model.yaml. Needs torch.

BatchNorm is folded into the convolutions. The graphs are compared with torch before the folder is written.
"""

from __future__ import annotations

import hashlib
import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor, nn

from edge_app.compiler.session import HostSession
from edge_app.slim.folder import replace_folder
from edge_app.slim.network import MAPS, Network
from edge_app.slim.recipe import Recipe

_OPSET = 13
_TOLERANCE = 1e-4


class _Maps(nn.Module):
    """The backbone, returning only the maps that heads take."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.backbone, self.used = network.backbone, network.used_maps()

    def forward(self, image: Tensor) -> list[Tensor]:
        maps = dict(zip(MAPS, self.backbone(image)))
        return [maps[name] for name in self.used]


def write(network: Network, recipe: Recipe, folder: Path, name: str) -> None:
    """Write the graphs and model.yaml. The folder appears when it is complete; an old one is replaced.

    Raises ConfigError if it cannot be written, RuntimeError if a graph differs from torch by more than 1e-4.
    """
    network = network.eval()
    image = torch.rand((1, 3, recipe.input.height, recipe.input.width), generator=torch.Generator().manual_seed(0))
    graphs = _graphs(network, image)
    _compare(network, graphs, image)
    files = {f"{part}.onnx": data for part, data in graphs.items()}
    files["model.yaml"] = _manifest(network, recipe, files, name).encode()
    replace_folder(folder, files)


def _graphs(network: Network, image: Tensor) -> dict[str, bytes]:
    """The ONNX files of the backbone and each head, by name."""
    backbone, used = _Maps(network).eval(), network.used_maps()
    with torch.no_grad():
        maps = dict(zip(used, backbone(image)))
    graphs = {"backbone": _traced(backbone, {"image": image}, used)}
    for name in network.heads:
        head = network.head(name)
        graphs[name] = _traced(head, {each: maps[each] for each in head.MAPS}, head.OUTPUTS)
    return graphs


def _traced(module: nn.Module, inputs: Mapping[str, Tensor], outputs: tuple[str, ...]) -> bytes:
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter that needs no other package is called deprecated
        torch.onnx.export(
            module, tuple(inputs.values()), data, input_names=list(inputs), output_names=list(outputs),
            opset_version=_OPSET, dynamo=False,
        )  # fmt: skip
    return data.getvalue()


def _compare(network: Network, graphs: Mapping[str, bytes], image: Tensor) -> None:
    with torch.no_grad():
        expected = network(image)
    maps = dict(zip(network.used_maps(), HostSession(graphs["backbone"]).run(image.numpy())))
    for name, outputs in expected.items():
        head = network.head(name)
        found = HostSession(graphs[name]).feed({each: maps[each] for each in head.MAPS})
        for each, tensor, array in zip(head.OUTPUTS, outputs, found):
            worst = float(np.abs(array - tensor.numpy()).max())
            if not worst <= _TOLERANCE * max(1.0, float(np.abs(array).max())):
                raise RuntimeError(f"{name}: {each}: the ONNX graph differs from torch by {worst:.2g}")


def _manifest(network: Network, recipe: Recipe, files: Mapping[str, bytes], name: str) -> str:
    heads: dict[str, Any] = {}
    for each in network.heads:
        head = network.head(each)
        heads[each] = {"family": head.FAMILY, "inputs": list(head.MAPS), "graph": {"onnx": f"{each}.onnx"}}
        heads[each] |= {"labels": list(labels)} if (labels := head.published_labels()) else {}
        heads[each] |= {"options": dict(head.OPTIONS)} if head.OPTIONS else {}
    content = {
        "format": 1,
        "name": name,
        "input": {"width": recipe.input.width, "height": recipe.input.height, "color": "rgb", "resize": "letterbox"},
        "backbone": {"graphs": [{"onnx": "backbone.onnx"}], "features": list(network.used_maps())},
        "heads": heads,
        "sha256": {file: hashlib.sha256(data).hexdigest() for file, data in files.items()},
    }
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return "# Written by edge-app slim train.\n" + text
