"""The loop that an engineer writes first, for any model folder: OpenCV, onnxruntime and numpy, no structure.

It does the work of the runtime: read, resize, run the same graphs, decode every head, write JSON. FastestDet is decoded
with plain numpy and cv2.dnn.NMSBoxes; other families with edge-app's own decoders, which favors the plain loop.
Not here: measuring it (passes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app import registry
from edge_app.backends import Graph, TensorSpec
from edge_app.frame import Detections, UInt8
from edge_app.geometry.boxes import fit
from edge_app.model.manifest import Manifest, ManifestHead
from edge_app.model.schema import Input

Outputs = dict[str, NDArray[Any]]
_NMS_IOU = 0.45


@dataclass(frozen=True, slots=True)
class Found:
    """What one head found: as JSON values, and the boxes (x1, y1, x2, y2) in image pixels, best first."""

    body: Any
    boxes: list[list[float]]


Decode = Callable[[Outputs, UInt8], Found]


class PlainModel:
    """A model folder on onnxruntime. target: `onnx` or `int8`, which graph files to run.

    Raises ModelError if the folder has no such files.
    """

    def __init__(self, manifest: Manifest, threads: int, target: str) -> None:
        import onnxruntime

        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = threads
        self._options.inter_op_num_threads = 1
        self._options.log_severity_level = 3
        self._session = partial(onnxruntime.InferenceSession, providers=["CPUExecutionProvider"])
        self._manifest = manifest
        self._first = {name: spec for name, spec in manifest.heads.items() if spec.crops is None}
        self._fused = self._load(manifest.file(manifest.fused[target])) if target in manifest.fused else None
        self._backbone = [] if self._fused else [self._load(graph) for graph in manifest.backbone_graphs(target)]
        with_graph = {name: spec.graph for name, spec in manifest.heads.items() if spec.graph}
        self._heads = {
            name: self._load(manifest.graph(graph, target))
            for name, graph in with_graph.items()
            if self._fused is None or name not in self._first
        }
        self._decoders = self._make_decoders()

    @property
    def input(self) -> Input:
        return self._manifest.input

    def run(self, tensor: NDArray[Any]) -> dict[str, Outputs]:
        """Run the graphs of the heads that take the whole image. Returns their outputs by head and name."""
        if self._fused is not None:
            return _by_head(_run(self._fused, {}, tensor))
        features: Outputs = {}
        for session in self._backbone:
            features.update(_run(session, features, tensor))
        return {
            name: _run(self._heads[name], features, tensor)
            if name in self._heads
            else {feature: features[feature] for feature in spec.inputs}
            for name, spec in self._first.items()
        }

    def infer(self, image: UInt8) -> dict[str, Any]:
        """All results of an image, as JSON values by head."""
        outputs = self.run(blob(image, self.input))
        found = {name: self._decoders[name](outputs[name], image) for name in self._first}
        bodies = {name: result.body for name, result in found.items()}
        for name, spec in self._manifest.heads.items():
            if spec.crops is not None:
                bodies[name] = [self._infer_crop(spec, crop) for crop in _crops(spec, found, image)]
        return bodies

    def _infer_crop(self, spec: ManifestHead, crop: UInt8) -> Any:
        assert spec.crops is not None
        outputs = _run(self._heads[spec.name], {}, blob(crop, spec.crops.input))
        return self._decoders[spec.name](outputs, crop).body

    def _load(self, graph: Graph) -> Any:
        return self._session(str(graph.path), self._options)

    def _make_decoders(self) -> dict[str, Decode]:
        probe = self.run(np.zeros(self.input.shape, self.input.dtype))
        for name, spec in self._manifest.heads.items():
            if spec.crops is not None:
                crop = spec.crops.input
                probe[name] = _run(self._heads[name], {}, np.zeros(crop.shape, crop.dtype))
        return {name: self._make_decoder(spec, probe[name]) for name, spec in self._manifest.heads.items()}

    def _make_decoder(self, spec: ManifestHead, probe: Outputs) -> Decode:
        if spec.family == "fastestdet":
            return partial(_decode_fastestdet, float(spec.options.get("score", 0.6)))
        outputs = tuple(TensorSpec(name, value.shape, str(value.dtype)) for name, value in probe.items())
        head = registry.build("heads", spec.family, spec.spec(outputs), **spec.options)
        image_input = self.input if spec.crops is None else spec.crops.input
        resize, fraction = image_input.resize, image_input.crop_fraction

        def decode(outputs: Outputs, image: UInt8) -> Found:
            result = head.decode(outputs, fit((image.shape[1], image.shape[0]), spec.input_size, resize, fraction))
            values = {field.name: getattr(result, field.name) for field in fields(result)}
            body = {
                name: [np.asarray(a).tolist() for a in value] for name, value in values.items() if value is not None
            }
            return Found(body, result.xyxy.tolist() if isinstance(result, Detections) else [])

        return decode


def blob(image: UInt8, spec: Input) -> NDArray[Any]:
    """The input tensor of an image (H, W, 3), BGR."""
    if spec.resize == "crop":  # the short side fits, the long one is cut at both ends
        height, width = image.shape[:2]
        scale = min(width / spec.width, height / spec.height) * spec.crop_fraction
        w, h = round(spec.width * scale), round(spec.height * scale)
        left, top = (width - w) // 2, (height - h) // 2
        canvas = cv2.resize(image[top : top + h, left : left + w], (spec.width, spec.height))
    else:
        transform = fit((image.shape[1], image.shape[0]), (spec.width, spec.height), spec.resize)
        canvas = cv2.resize(image, transform.fitted)
        if spec.resize == "letterbox":
            left, top = transform.pad_x, transform.pad_y
            right, bottom = spec.width - transform.fitted[0] - left, spec.height - transform.fitted[1] - top
            gray = (spec.pad,) * 3
            canvas = cv2.copyMakeBorder(canvas, top, bottom, left, right, cv2.BORDER_CONSTANT, value=gray)
    if spec.color == "rgb":
        canvas = cv2.cvtColor(canvas, cv2.COLOR_BGR2RGB)
    tensor: NDArray[Any] = canvas
    if spec.dtype != "uint8":
        tensor = canvas.astype(np.float32)
        if any(spec.mean):
            tensor -= np.array(spec.mean, np.float32)
        tensor /= np.array(spec.std, np.float32) if len(set(spec.std)) > 1 else np.float32(spec.std[0])
        tensor = tensor.astype(spec.dtype, copy=False)
    return np.ascontiguousarray(tensor[None] if spec.layout == "nhwc" else tensor.transpose(2, 0, 1)[None])


def _by_head(outputs: Outputs) -> dict[str, Outputs]:
    """Group the outputs of a fused graph, which are named head/output."""
    heads: dict[str, Outputs] = {}
    for name, value in outputs.items():
        head, _, output = name.partition("/")
        heads.setdefault(head, {})[output] = value
    return heads


def _run(session: Any, features: Outputs, image: NDArray[Any]) -> Outputs:
    feeds = {node.name: features.get(node.name, image) for node in session.get_inputs()}
    names = [node.name for node in session.get_outputs()]
    return dict(zip(names, session.run(names, feeds)))


def _crops(spec: ManifestHead, found: Mapping[str, Found], image: UInt8) -> list[UInt8]:
    """The crops of a second-stage head, best boxes first; those with a side below 4 pixels are left out."""
    assert spec.crops is not None
    height, width = image.shape[:2]
    crops = []
    for x1, y1, x2, y2 in found[spec.crops.of].boxes[: spec.crops.limit]:
        dx, dy = spec.crops.margin * (x2 - x1), spec.crops.margin * (y2 - y1)
        left, top, right, bottom = max(0, int(x1 - dx)), max(0, int(y1 - dy)), int(x2 + dx) + 1, int(y2 + dy) + 1
        crops.append(image[top : min(height, bottom), left : min(width, right)])
    return [crop for crop in crops if min(crop.shape[:2]) >= 4]


def _decode_fastestdet(threshold: float, outputs: Outputs, image: UInt8) -> Found:
    """One output (1, 5 + classes, h, w), or three: objectness, boxes, classes."""
    ordered = sorted(outputs.values(), key=lambda value: {1: 0, 4: 1}.get(value.shape[1], 2))
    prediction = np.concatenate(ordered, axis=1) if len(ordered) > 1 else ordered[0]
    height, width = image.shape[:2]
    _, channels, rows, columns = prediction.shape
    cells = prediction.reshape(channels, -1)  # (5 + classes, h * w)
    label = cells[5:].argmax(axis=0)
    score = cells[0] ** 0.6 * cells[5:].max(axis=0) ** 0.4
    index = np.flatnonzero(score > threshold)
    cells, label, score = cells[:, index], label[index], score[index]
    cx = (np.tanh(cells[1]) + index % columns) / columns * width
    cy = (np.tanh(cells[2]) + index // columns) / rows * height
    w = width / (1 + np.exp(-cells[3]))
    h = height / (1 + np.exp(-cells[4]))
    boxes = np.stack((cx - w / 2, cy - h / 2, w, h), axis=1)
    selected = np.array(cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), threshold, _NMS_IOU)).flatten()
    body = [{"label": int(label[i]), "score": float(score[i]), "box": boxes[i].tolist()} for i in selected]
    return Found(body, [[x, y, x + w, y + h] for x, y, w, h in (entry["box"] for entry in body)])
