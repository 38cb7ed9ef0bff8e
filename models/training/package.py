"""The float graphs as a model folder: its model.yaml, and running the graphs with onnxruntime. Does not need torch.

Not here: writing the graphs (export.py). `edge-app compile` makes the shipped files from them.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import yaml
from numpy.typing import NDArray

SIDE, PADDING = 320, 114
MAPS = ("c8", "c16")
HEADS = {"digits": ("scores", "boxes"), "panel": ("mask",), "scene": ("scene",)}
FAMILIES = {"digits": "digits", "panel": "segment", "scene": "classify"}
LABELS = {
    "digits": [str(digit) for digit in range(10)],
    "panel": ["panel"],
    "scene": ["ok", "dark", "blurred", "covered"],
}


def letterbox(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Letterbox a BGR frame of any size into the network's input (1, 320, 320, 3) uint8 RGB."""
    height, width = frame.shape[:2]
    zoom = SIDE / max(height, width)
    small = cv2.resize(frame, (round(width * zoom), round(height * zoom)), interpolation=cv2.INTER_AREA)
    top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
    image = np.full((1, SIDE, SIDE, 3), PADDING, np.uint8)
    image[0, top : top + small.shape[0], left : left + small.shape[1]] = small[:, :, ::-1]
    return image


class Graphs:
    """The float graphs of a model folder in onnxruntime. The backbone can consist of segments."""

    def __init__(self, folder: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        backbone = yaml.safe_load((folder / "model.yaml").read_text())["backbone"]["graphs"]
        self.segments = [Path(each["onnx"]).stem for each in backbone]
        self.sessions = {
            name: onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, ["CPUExecutionProvider"])
            for name in (*self.segments, *HEADS)
        }

    def backbone(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Image (1, 320, 320, 3) uint8 -> maps c8 and c16."""
        tensors = {"image": image}
        for segment in map(self.sessions.get, self.segments):
            feeds = {node.name: tensors[node.name] for node in segment.get_inputs()}
            names = [node.name for node in segment.get_outputs()]
            tensors |= dict(zip(names, segment.run(names, feeds)))
        return {name: tensors[name] for name in MAPS}

    def head(self, name: str, maps: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        """One head's outputs, by `head/output`."""
        values = self.sessions[name].run(list(HEADS[name]), maps)
        return {f"{name}/{output}": value for output, value in zip(HEADS[name], values)}

    def run(self, image: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Every head's outputs for one image."""
        maps = self.backbone(image)
        return {key: value for name in HEADS for key, value in self.head(name, maps).items()}


def write_manifest(folder: Path) -> None:
    """Write model.yaml with the hashes of the graphs in `folder`."""
    files = [f"{name}.onnx" for name in ("backbone", *HEADS)]
    manifest = {
        "format": 1,
        "name": "digits",
        "input": {
            "width": SIDE, "height": SIDE, "color": "rgb", "layout": "nhwc", "dtype": "uint8",
            "mean": [0, 0, 0], "std": [255, 255, 255], "resize": "letterbox",
        },
        "backbone": {"graphs": [{"onnx": "backbone.onnx"}], "features": list(MAPS)},
        "heads": {
            name: {
                "family": FAMILIES[name],
                "inputs": list(MAPS),
                "graph": {"onnx": f"{name}.onnx"},
                "labels": LABELS[name],
            }
            for name in HEADS
        },
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in files},
    }  # fmt: skip
    text = yaml.safe_dump(manifest, sort_keys=False, default_flow_style=None, width=120)
    (folder / "model.yaml").write_text("# Written by models/training/package.py.\n" + text)
