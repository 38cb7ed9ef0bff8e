"""Small ONNX graphs for the compiler's tests, written node by node, with weights from a fixed seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


class Graph:
    """Collects nodes and weights; every method returns the name of a tensor."""

    def __init__(self, seed: int = 0, opset: int = 13):
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def weight(self, values) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = np.asarray(values)
        return name

    def node(self, op: str, *inputs: str, outputs: int = 1, **attributes):
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names

    def conv(
        self, x: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1, bias=True
    ) -> str:
        scale = 1 / np.sqrt(inputs / groups * kernel * kernel)
        w = self.weight((self.rng.normal(size=(outputs, inputs // groups, kernel, kernel)) * scale).astype(np.float32))
        names = [x, w] + ([self.weight(self.rng.normal(size=outputs).astype(np.float32) * 0.1)] if bias else [])
        return self.node(
            "Conv", *names, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[kernel // 2] * 4, group=groups
        )

    def relu(self, x: str) -> str:
        return self.node("Relu", x)

    def batch_norm(self, x: str, channels: int) -> str:
        values = [self.rng.uniform(0.5, 1.5, channels), self.rng.normal(size=channels), self.rng.normal(size=channels)]
        values.append(self.rng.uniform(0.5, 1.5, channels))
        return self.node("BatchNormalization", x, *(self.weight(v.astype(np.float32)) for v in values))

    def reshape(self, x: str, *shape: int) -> str:
        return self.node("Reshape", x, self.weight(np.array(shape, np.int64)))

    def model(self, outputs: dict[str, str], shape=(1, 3, 64, 64), listed: bool = False, image: str = "image"):
        """outputs: public name by tensor. listed: list initializers as graph inputs too, as old exporters do."""
        nodes = [*self.nodes, *(helper.make_node("Identity", [t], [name]) for name, t in outputs.items())]
        inputs = [helper.make_tensor_value_info(image, FLOAT, list(shape))]
        weights = [numpy_helper.from_array(np.asarray(v, order="C"), k) for k, v in self.weights.items()]
        if listed:
            inputs += [helper.make_tensor_value_info(w.name, w.data_type, list(w.dims)) for w in weights]
        results = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
        graph = helper.make_graph(nodes, "test", inputs, results, weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    def save(self, path: Path, outputs: dict[str, str], **options) -> Path:
        onnx.save(self.model(outputs, **options), str(path))
        return path


def classifier(path: Path, *, backbone_seed: int = 0, head_seed: int = 1, classes: int = 5, size: int = 64) -> Path:
    """A residual network of strides 2, 4, 8 and a classifier after its last map."""
    g = Graph(backbone_seed)
    x = trunk(g)
    g.rng = np.random.default_rng(head_seed)
    x = g.node("GlobalAveragePool", g.relu(g.conv(x, 16, 24, 1)))
    x = g.node("Flatten", x, axis=1)
    w = g.weight(g.rng.normal(size=(24, classes)).astype(np.float32))
    y = g.node("Gemm", x, w, g.weight(g.rng.normal(size=classes).astype(np.float32)))
    return g.save(path, {"probabilities": y}, shape=(1, 3, size, size))


def segmenter(path: Path, *, backbone_seed: int = 0, head_seed: int = 2, size: int = 64) -> Path:
    """The backbone of `classifier`, with a map of three classes."""
    g = Graph(backbone_seed)
    x = trunk(g)
    g.rng = np.random.default_rng(head_seed)
    x = g.conv(g.relu(g.conv(x, 16, 16)), 16, 3, 1)
    return g.save(path, {"map": x}, shape=(1, 3, size, size))


def trunk(g: Graph) -> str:
    """image -> (1, 16, H / 8, W / 8)."""
    x = g.relu(g.batch_norm(g.conv("image", 3, 8, stride=2, bias=False), 8))
    x = g.relu(g.conv(x, 8, 16, stride=2))
    x = g.node("Add", x, g.relu(g.conv(x, 16, 16, groups=16)))
    x = g.relu(g.conv(x, 16, 16, stride=2))
    return g.node("Add", x, g.relu(g.conv(x, 16, 16)))
