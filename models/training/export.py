"""Write the trained network as ONNX: a file for the backbone and one for each head, with BatchNorm folded.

The graphs are built node by node and not traced, so they contain only operators that the NPU runs. They are then
compared with torch. `python models/training/export.py digits.pt` exports saved weights, or the mean of several files.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import package
from network import Backbone, Full, Fused, Network, Residual

OPSET = 13
SIDE = 320
MAPS = {"c8": [1, Backbone.C8, SIDE // 8, SIDE // 8], "c16": [1, Backbone.C16, SIDE // 16, SIDE // 16]}
HEADS = {
    "digits": {"scores": [1, 10, 40, 40], "boxes": [1, 4, 40, 40]},
    "panel": {"mask": [1, 1, 40, 40]},
    "scene": {"scene": [1, 4]},
}
TOLERANCE = 1e-4


class Graph:
    """Builds one ONNX graph; most methods append a node and return the name of its output."""

    def __init__(self, name: str, inputs: dict[str, tuple[int, list[int]]]) -> None:
        self.name, self.inputs = name, inputs
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, onnx.TensorProto] = {}

    def node(self, kind: str, inputs: list[str], output: str = "", **attributes: object) -> str:
        output = output or f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def weight(self, name: str, values: NDArray[np.generic]) -> str:
        self.weights[name] = numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def convolution(
        self, layer: nn.Conv2d, x: str, output: str = "", norm: nn.BatchNorm2d | None = None, gain: float = 1.0
    ) -> str:
        """A convolution with BatchNorm and an input gain folded in."""
        weights, bias = folded(layer, norm)
        key = f"conv_{len(self.nodes)}"
        names = [x, self.weight(f"{key}_w", weights * np.float32(gain)), self.weight(f"{key}_b", bias)]
        kernel, stride, pad = list(layer.kernel_size), list(layer.stride), int(layer.padding[0])
        return self.node("Conv", names, output, kernel_shape=kernel, strides=stride, pads=[pad] * 4, group=layer.groups)

    def relu6(self, x: str, output: str = "") -> str:
        low, high = self.weight("zero", np.array(0, np.float32)), self.weight("six", np.array(6, np.float32))
        return self.node("Clip", [x, low, high], output)

    def block(self, layers: nn.Module, x: str, gain: float = 1.0) -> str:
        """Sequential, Residual, Full, or conv + BatchNorm + ReLU6."""
        if isinstance(layers, Residual):
            return self.node("Add", [x, self.block(layers.pointwise, self.block(layers.depthwise, x))])
        if isinstance(layers, Full):
            return self.node("Add", [x, self.block(layers.conv, x)])
        assert isinstance(layers, nn.Sequential)
        if isinstance(layers[0], nn.Conv2d):
            return self.relu6(self.convolution(layers[0], x, norm=layers[1], gain=gain))  # type: ignore[arg-type]
        for i, layer in enumerate(layers):
            x = self.relu6(x) if isinstance(layer, nn.ReLU6) else self.block(layer, x, gain if i == 0 else 1.0)
        return x

    def fused(self, layers: Fused, c8: str, c16: str) -> str:
        twice = self.weight("twice", np.array([1, 1, 2, 2], np.float32))
        far = self.node("Resize", [self.convolution(layers.far, c16), "", twice], mode="nearest",
                        coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip
        return self.block(layers.refine, self.node("Add", [self.convolution(layers.near, c8), far]))

    def named(self, name: str) -> str:
        """Rename the output of the last node to its public name."""
        self.nodes[-1].output[0] = self.nodes[-1].name = name
        return name

    def save(self, path: Path, outputs: dict[str, list[int]]) -> None:
        inputs = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in self.inputs.items()]
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
        graph = helper.make_graph(self.nodes, self.name, inputs, results, list(self.weights.values()))
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="edge_app models/training"
        )
        model.ir_version = 8  # readable by every onnxruntime since 1.10
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(path))


def folded(layer: nn.Conv2d, norm: nn.BatchNorm2d | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weights and bias of a convolution with the following BatchNorm folded in, computed in double precision."""
    weights = layer.weight.detach().double()
    bias = (
        layer.bias.detach().double() if layer.bias is not None else torch.zeros(layer.out_channels, dtype=torch.double)
    )
    if norm is not None:
        scale = norm.weight.detach().double() / torch.sqrt(norm.running_var.double() + norm.eps)  # type: ignore[union-attr]
        weights = weights * scale[:, None, None, None]
        bias = (bias - norm.running_mean.double()) * scale + norm.bias.detach().double()  # type: ignore[union-attr]
    return weights.float().numpy(), bias.float().numpy()


def write(network: Network, out: Path) -> None:
    """Write the four graphs and model.yaml into `out`. Raises RuntimeError if an output differs from torch."""
    out.mkdir(parents=True, exist_ok=True)
    network = network.eval().to(memory_format=torch.contiguous_format)
    _write_backbone(network.backbone, out / "backbone.onnx")
    maps = {name: (TensorProto.FLOAT, shape) for name, shape in MAPS.items()}

    digits = Graph("digits", maps)
    x = digits.fused(network.digits.fused, "c8", "c16")
    digits.convolution(network.digits.scores, x, "scores")
    digits.node("Relu", [digits.convolution(network.digits.boxes, x)], "boxes")
    digits.save(out / "digits.onnx", HEADS["digits"])

    panel = Graph("panel", maps)
    panel.convolution(network.panel.mask, panel.fused(network.panel.fused, "c8", "c16"), "mask")
    panel.save(out / "panel.onnx", HEADS["panel"])

    scene = Graph("scene", maps)
    pooled = [scene.node("GlobalAveragePool", [scene.block(layers, name)])
              for layers, name in ((network.scene.near, "c8"), (network.scene.far, "c16"))]  # fmt: skip
    flat = scene.node("Flatten", [scene.node("Concat", pooled, axis=1)], axis=1)
    linear = network.scene.scene
    weights = [
        scene.weight("scene_w", linear.weight.detach().numpy()),
        scene.weight("scene_b", linear.bias.detach().numpy()),
    ]
    scene.node("Gemm", [flat, *weights], "scene", transB=1)
    scene.save(out / "scene.onnx", HEADS["scene"])
    package.write_manifest(out)
    _compare(network, out)


def _write_backbone(backbone: Backbone, path: Path) -> None:
    graph = Graph("backbone", {"image": (TensorProto.UINT8, [1, SIDE, SIDE, 3])})
    planes = graph.node("Transpose", ["image"], perm=[0, 3, 1, 2])  # before the cast: a pixel is one byte, not four
    x = graph.block(backbone.to_c8, graph.node("Cast", [planes], to=TensorProto.FLOAT), gain=1 / 255)
    c8 = graph.named("c8") if x else ""
    graph.block(backbone.to_c16, c8)
    graph.named("c16")
    graph.save(path, MAPS)


def _compare(network: Network, out: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (1, SIDE, SIDE, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image[:, ::8, ::8], 8, 1), 8, 2)
    with torch.no_grad():
        expected = network(torch.from_numpy(image).permute(0, 3, 1, 2).float() / 255)
    for name, values in package.Graphs(out).run(image).items():
        worst = np.abs(values - expected[name.split("/")[1]].numpy()).max()
        if worst > TOLERANCE * max(1.0, np.abs(values).max()):
            raise RuntimeError(f"{name}: the ONNX graph differs from torch by {worst:.2g}")


def averaged(states: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """The mean of the weights of successive cycles (stochastic weight averaging, Izmailov et al. 2018)."""
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if last.is_floating_point() else last
        for name, last in states[-1].items()
    }


def main() -> None:
    """Export saved weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, nargs="+", help="torch weights; those of several files are averaged")
    parser.add_argument("--out", type=Path, default=Path("build/digits"))
    args = parser.parse_args()
    network = Network()
    network.load_state_dict(averaged([torch.load(path, weights_only=True) for path in args.checkpoint]))
    write(network, args.out)


if __name__ == "__main__":
    main()
