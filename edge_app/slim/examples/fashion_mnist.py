"""Fashion-MNIST (Xiao et al. 2017) as a task of `edge-app slim shrink`, and a VGG-like network for it.

    apt install dataset-fashion-mnist
    python -m edge_app.slim.examples.fashion_mnist NETWORK_DIR
    edge-app slim shrink NETWORK_DIR --recipe slim.yaml --task edge_app/slim/examples/fashion_mnist.py --out DIR

The network is untrained: the first step of the recipe is `{type: train, scratch: true}`. The folder of the data is that
of Debian's package, or $FASHION_MNIST. The 10,000 test pictures choose nothing.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from edge_app.compiler import net as nets
from edge_app.errors import ConfigError
from edge_app.frame import UInt8
from edge_app.slim.graph import model_folder
from edge_app.slim.graph.model_folder import HeadModel, SlimModel
from edge_app.slim.objectives import Batch, Figure, Run

LABELS = ("T-shirt", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot")
_FOLDER = Path("/usr/share/datasets/fashion-mnist")
_SIDE, _BATCH, _SHIFT, _EVALUATED = 28, 64, 2, 250
_WIDTHS = (24, 48, 96)  # 16.7 M MACs, 163 k parameters
_HEADERS = {"images": 16, "labels": 8}  # bytes


class FashionMnist:
    """The task: 60,000 pictures to train on, 10,000 held out."""

    def __init__(self, folder: Path) -> None:
        """Raises ConfigError if the data is not there."""
        self.module = nn.Module()
        self._train, self._test = (_part(folder, part) for part in ("train", "t10k"))

    def batches(self, seed: int, step: int) -> list[Batch]:
        rng = np.random.default_rng([seed, step])
        images, labels = self._train
        chosen = rng.integers(0, len(images), _BATCH)
        shifts = rng.integers(-_SHIFT, _SHIFT + 1, (_BATCH, 2))
        mirrored = rng.random(_BATCH) < 0.5
        rows = []
        for i, (dy, dx), mirror in zip(chosen, shifts, mirrored):
            padded = np.pad(images[i], _SHIFT)
            row = padded[_SHIFT + dy : _SHIFT + dy + _SIDE, _SHIFT + dx : _SHIFT + dx + _SIDE]
            rows.append(row[:, ::-1] if mirror else row)
        return [Batch(_rgb(np.stack(rows)), {"label": torch.from_numpy(labels[chosen].astype(np.int64))})]

    def loss(self, outputs: Mapping[str, Tensor], batch: Batch) -> Tensor:
        return F.cross_entropy(outputs["label/logits"], batch.targets["label"])

    def evaluate(self, run: Run) -> dict[str, Figure]:
        images, labels = self._test
        right = 0
        for first in range(0, len(images), _EVALUATED):
            found = run(_rgb(images[first : first + _EVALUATED]))["label/logits"].argmax(1)
            right += int((found == labels[first : first + _EVALUATED]).sum())
        return {"label": Figure("accuracy", right / len(images), len(images))}

    def images(self, count: int) -> UInt8:
        return _rgb(self._train[0][:count])

    def fingerprint(self) -> str:
        return f"fashion-mnist {len(self._train[0])}"


def open_task(model: SlimModel, folder: Path) -> FashionMnist:
    """The task of `slim shrink`."""
    del model, folder
    return FashionMnist(Path(os.environ.get("FASHION_MNIST", _FOLDER)))


def network() -> nn.Sequential:
    """Two 3 x 3 convolutions at each of 28, 14 and 7 cells, the mean, and a linear layer."""
    layers: list[nn.Module] = []
    channels = 3
    for number, width in enumerate(_WIDTHS):
        for _ in range(2):
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        if number < len(_WIDTHS) - 1:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, len(LABELS)))


def write(folder: Path) -> None:
    """Write the untrained network as a model folder."""
    import io

    torch.manual_seed(0)
    data = io.BytesIO()
    torch.onnx.export(
        network().eval(), (torch.zeros(1, 3, _SIDE, _SIDE),), data, input_names=["image"],
        output_names=["label/logits"], opset_version=13, dynamo=False,
    )  # fmt: skip
    import onnx

    net = nets.from_model(onnx.load_model_from_string(data.getvalue()), "whole")
    recorded = {
        "width": _SIDE, "height": _SIDE, "color": "bgr", "layout": "nchw", "mean": [0.0] * 3, "std": [255.0] * 3,
        "resize": "stretch",
    }  # fmt: skip
    head = HeadModel("label", "classify", LABELS, ("logits",), {})
    model = SlimModel("fashion-mnist", net, (), (head,), (0.0,) * 3, (255.0,) * 3, recorded)
    model_folder.write(model, net, folder, "edge_app.slim.examples.fashion_mnist")


def _part(folder: Path, name: str) -> tuple[UInt8, UInt8]:
    """Images (N, 28, 28) and labels (N,)."""
    arrays: list[NDArray[Any]] = []
    for kind, header in _HEADERS.items():
        path = folder / f"{name}-{kind}-idx{3 if kind == 'images' else 1}-ubyte.gz"
        try:
            arrays.append(np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header))
        except (OSError, EOFError, ValueError) as exc:
            raise ConfigError(f"{path}: cannot be read; expected Debian's dataset-fashion-mnist") from exc
    return arrays[0].reshape(-1, _SIDE, _SIDE), arrays[1]


def _rgb(images: UInt8) -> UInt8:
    return np.repeat(images[..., None], 3, axis=-1)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
