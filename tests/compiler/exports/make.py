"""Small networks with random weights, exported to ONNX by PyTorch, Paddle and TensorFlow: `python make.py FRAMEWORK`.

Run in an environment of each framework; the files are written beside this script. Installed when they were made:

    torch        torch 2.13.0+cpu, onnxscript 0.7.2, onnx 1.23.2
    paddle       paddlepaddle 3.3.1, paddle2onnx 2.1.0, onnx 1.17.0
    tensorflow   tensorflow-cpu 2.21.0, tf2onnx 1.17.0, onnx 1.23.2
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
SIZE = 64  # pixels, of every input
CLASSES = 5


def torch() -> None:
    """A classifier by the exporter until torch 2.8, and a segmenter by the one since then."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    def block(inputs: int, outputs: int, activation: type[nn.Module]) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(inputs, inputs, 3, stride=2, padding=1, groups=inputs, bias=False),
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 1),
            activation(),
        )

    class Classifier(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(
                nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU6(), block(8, 16, nn.Hardswish), block(16, 32, nn.SiLU)
            )
            self.end = nn.Linear(32, CLASSES)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.end(self.body(x).mean((2, 3)))

    class Segmenter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GELU(), block(8, 16, nn.GELU))
            self.deep, self.end = block(16, 16, nn.ReLU), nn.Conv2d(16, CLASSES, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.body(x)
            x = x + nn.functional.interpolate(self.deep(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            return self.end(x)

    image = torch.zeros(1, 3, SIZE, SIZE)
    for name, network, dynamo in (("torch_legacy", Classifier(), False), ("torch_dynamo", Segmenter(), True)):
        network.train()(torch.randn(8, 3, SIZE, SIZE))  # statistics for the normalization
        network.eval()
        options = {"opset_version": 20, "external_data": False} if dynamo else {"opset_version": 17}
        torch.onnx.export(
            network,
            (image,),
            HERE / f"{name}.onnx",
            input_names=["image"],
            output_names=["scores"],
            dynamo=dynamo,
            **options,
        )
    without_stack_traces(HERE / "torch_dynamo.onnx")


def without_stack_traces(path: Path) -> None:
    """The newer exporter writes the paths of the machine that exported into every node."""
    import onnx

    model = onnx.load(str(path))
    for graph in (model.graph, *model.functions):
        for node in graph.node:
            del node.metadata_props[:]
    onnx.save(model, str(path))


def paddle() -> None:
    """A classifier that ends in a softmax, as those of PaddleClas do; the input has a free size and batch."""
    import paddle
    from paddle import nn

    paddle.seed(0)
    network = nn.Sequential(
        nn.Conv2D(3, 8, 3, stride=2, padding=1, bias_attr=False), nn.BatchNorm2D(8), nn.Hardswish(),
        nn.Conv2D(8, 8, 3, stride=2, padding=1, groups=8), nn.Conv2D(8, 16, 1), nn.ReLU(),
        nn.Conv2D(16, 32, 3, stride=2, padding=1), nn.Hardswish(),
        nn.AdaptiveAvgPool2D(1), nn.Flatten(), nn.Linear(32, CLASSES), nn.Softmax(),
    )  # fmt: skip
    network.train()
    network(paddle.randn([8, 3, SIZE, SIZE]))
    network.eval()
    with tempfile.TemporaryDirectory() as folder:
        shape = paddle.static.InputSpec([None, 3, -1, -1], "float32", "image")
        paddle.jit.save(network, f"{folder}/model", [shape])
        import paddle2onnx

        paddle2onnx.export(
            f"{folder}/model.json", f"{folder}/model.pdiparams", str(HERE / "paddle.onnx"), 17, optimize_tool="None"
        )


def tensorflow() -> None:
    """A segmenter: input and output have the channels last, and padding is `same`."""
    import tensorflow as tf
    import tf2onnx

    tf.keras.utils.set_random_seed(0)
    layers = tf.keras.layers
    image = tf.keras.Input((SIZE, SIZE, 3), 1, name="image")
    x = layers.Rescaling(1 / 127.5, offset=-1)(image)
    x = layers.Conv2D(8, 3, 2, "same", use_bias=False)(x)
    x = layers.ReLU(6.0)(layers.BatchNormalization()(x))
    x = layers.DepthwiseConv2D(3, 2, "same")(x)
    x = layers.Conv2D(16, 1, activation="swish")(x)
    y = layers.Conv2D(16, 3, 2, "same", activation="relu")(x)
    x = layers.Add()([x, layers.UpSampling2D(2, interpolation="bilinear")(y)])
    x = layers.Conv2D(CLASSES, 1, activation="softmax")(x)
    network = tf.keras.Model(image, x)
    network(tf.random.normal((8, SIZE, SIZE, 3)), training=True)
    signature = [tf.TensorSpec((1, SIZE, SIZE, 3), tf.float32, name="image")]
    tf2onnx.convert.from_function(
        tf.function(lambda image: network(image, training=False)),
        signature,
        opset=17,
        output_path=str(HERE / "tensorflow.onnx"),
    )


if __name__ == "__main__":
    {"torch": torch, "paddle": paddle, "tensorflow": tensorflow}[sys.argv[1]]()
