"""Read a model for training, and write a trained one as a model folder that `edge-app compile` takes.

The graph is the compiler's: backbone and heads as one, on float planes (1, 3, H, W), BGR, normalized. Needs torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from torch import Tensor

from edge_app.compiler import assemble, frontend, input_models
from edge_app.compiler import net as nets
from edge_app.compiler.input_models import InputModel, ModelOptions
from edge_app.compiler.net import Net, Value, subgraph
from edge_app.errors import ConfigError, ModelError
from edge_app.frame import UInt8
from edge_app.slim.folder import replace_folder

_PIXEL = 255.0


@dataclass(frozen=True, slots=True)
class HeadModel:
    """A head of a model. outputs: names, without the head's. options: of its decoder."""

    name: str
    family: str
    labels: tuple[str, ...]
    outputs: tuple[str, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SlimModel:
    """A model to train. net: its outputs are named head/output. features: tensors between backbone and heads.

    mean, std: BGR, that the caller applies to pixels 0..255. recorded: input block of model.yaml.
    """

    name: str
    net: Net
    features: tuple[str, ...]
    heads: tuple[HeadModel, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    recorded: Mapping[str, Any]

    def planes(self, images: UInt8) -> Tensor:
        """images: (N, H, W, 3) uint8 RGB. Returns the graph's input (N, 3, H, W)."""
        x = torch.from_numpy(np.ascontiguousarray(images[..., ::-1])).permute(0, 3, 1, 2).float()
        mean, std = (torch.tensor(each, dtype=torch.float32).reshape(1, 3, 1, 1) for each in (self.mean, self.std))
        return (x - mean) / std

    def on_pixels(self, net: Net) -> Net:
        """A graph of this model on the camera's pixels, (1, H, W, 3) uint8 BGR, to be quantized."""
        return frontend.with_pixels(net, self.mean, self.std, one_pass=False)


def read(path: Path) -> SlimModel:
    """Read a model folder, a run of `slim train`, or an ONNX file. Raises ModelError, ConfigError."""
    if path.is_dir() and not (path / "model.yaml").exists() and (path / "model" / "model.yaml").exists():
        path = path / "model"
    if not path.exists():
        raise ConfigError(f"{path}: found nothing; expected a model folder, a trained run, or an ONNX file")
    models = input_models.read([path], ModelOptions())
    assembly = assemble.assemble(models, None, ())
    net, mean, std = _unit_scale(assembly.whole, assembly.mean, assembly.std)
    heads = tuple(_head(model, net) for model in models)
    features = tuple(feature.name for feature in assembly.features) if assembly.backbone is not None else ()
    recorded = models[0].recorded
    size = net.inputs[0].shape
    manifest_input = {
        "width": size[3], "height": size[2], "color": "bgr", "layout": "nchw",
        "mean": [float(n) for n in mean], "std": [float(n) for n in std],
        "resize": recorded.resize, "pad": recorded.pad, "crop_fraction": recorded.crop_fraction,
    }  # fmt: skip
    return SlimModel(path.stem if path.is_file() else path.name, net, features, heads, mean, std, manifest_input)


def _head(model: InputModel, net: Net) -> HeadModel:
    if isinstance(model.labels, str):
        from edge_app.compiler import families

        labels = tuple(families.resolved(model.labels))
    else:
        labels = tuple(model.labels)
    prefix = f"{model.name}/"
    outputs = tuple(name.removeprefix(prefix) for name in net.outputs if name.startswith(prefix))
    return HeadModel(model.name, model.family.name, labels, outputs, dict(model.options))


def _unit_scale(net: Net, mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Net, Any, Any]:
    """A graph on pixels 0..255 takes 0..1 instead, and its first convolutions larger weights: those can be trained."""
    if any(s != 1 for s in std) or any(mean):
        return net, mean, std
    net = net.copy()
    (image,) = net.inputs
    readers = net.consumers().get(image.name, [])
    if not readers or any(node.op != "Conv" or node.inputs[1] not in net.weights for node in readers):
        return net, mean, std
    for node in readers:
        name = net.fresh(f"{node.inputs[1]}_unit")
        net.weights[name] = (net.weights[node.inputs[1]] * _PIXEL).astype(np.float32)
        node.inputs[1] = name
    return net, mean, (_PIXEL,) * 3


def save_net(net: Net) -> bytes:
    """A graph as ONNX, BatchNorm included."""
    data: bytes = net.to_model().SerializeToString()
    return data


def load_net(data: bytes, where: str) -> Net:
    """The graph of `save_net`. Raises ConfigError if it is damaged."""
    import onnx

    try:
        return nets.from_model(onnx.load_model_from_string(data), "whole")
    except Exception as exc:  # protobuf raises several types
        raise ConfigError(f"{where}: is damaged; expected a graph of `slim shrink`, or --restart") from exc


def write(model: SlimModel, net: Net, folder: Path, written_by: str) -> None:
    """Write a folded graph of the model as a folder. An old one is replaced. Raises ConfigError if it cannot be."""
    files = {f"{name}.onnx": part.serialize() for name, part in _parts(model, net).items()}
    files["model.yaml"] = _manifest(model, files, written_by).encode()
    replace_folder(folder, files)


def _parts(model: SlimModel, net: Net) -> dict[str, Net]:
    """The graphs of backbone and heads, or of the only head."""
    shapes = net.shapes()
    inputs = [Value(name, "float32", shapes[name]) for name in model.features]
    parts: dict[str, Net] = {}
    if model.features:
        parts["backbone"] = subgraph(net, "backbone", net.inputs, model.features)
    for head in model.heads:
        wanted = [f"{head.name}/{name}" for name in head.outputs]
        part = subgraph(net, head.name, inputs or net.inputs, wanted)
        used = {name for node in part.nodes for name in node.inputs}
        part.inputs = [value for value in part.inputs if value.name in used]
        for name in head.outputs:
            if part.fresh(name) != name:
                part.rename(name, part.fresh(f"{name}_inner"))
            part.rename(f"{head.name}/{name}", name)
        parts[head.name] = part
    if not model.features and len(parts) > 1:
        raise ModelError(f"{model.name}: found {len(parts)} heads without a common backbone; expected one")
    return parts


def _manifest(model: SlimModel, files: Mapping[str, bytes], written_by: str) -> str:
    content: dict[str, Any] = {"format": 1, "name": model.name, "input": dict(model.recorded)}
    if content["input"]["resize"] != "crop":
        content["input"].pop("crop_fraction", None)
    if model.features:
        content["backbone"] = {"graphs": [{"onnx": "backbone.onnx"}], "features": list(model.features)}
    content["heads"] = {}
    for head in model.heads:
        entry: dict[str, Any] = {"family": head.family, "graph": {"onnx": f"{head.name}.onnx"}}
        if model.features:
            entry["inputs"] = list(model.features)
        entry |= {"labels": list(head.labels)} if head.labels else {}
        entry |= {"options": dict(head.options)} if head.options else {}
        content["heads"][head.name] = entry
    content["sha256"] = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    text = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return f"# Written by {written_by}.\n{text}"
