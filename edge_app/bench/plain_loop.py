"""One pass of a variant of `bench pipeline`, run as its own process. Prints a `Sample` as JSON.

    python -m edge_app.bench.plain_loop runtime|plain|bare CLIP MODEL THREADS MAX_FRAMES

`plain` is the loop that an engineer writes first: one thread, OpenCV and numpy, no structure.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_app import config, registry
from edge_app.backends import Graph, TensorSpec
from edge_app.bench.pipeline import Plan, Sample
from edge_app.errors import EdgeError
from edge_app.frame import UInt8
from edge_app.geometry.boxes import fit
from edge_app.model import manifest
from edge_app.model.manifest import Manifest, ManifestHead

Outputs = dict[str, NDArray[Any]]
SCORE, NMS_IOU = 0.4, 0.45


def runtime(plan: Plan) -> Sample:
    """Run the whole pipeline of edge-app; it writes the results of every frame to a JSON Lines file."""
    from edge_app import pipeline
    from edge_app.errors import EndOfClip

    with tempfile.TemporaryDirectory() as folder:
        settings = _settings(plan, Path(folder))
        with pipeline.build(settings, replay=True) as running:
            timer = _Timer(plan)
            try:
                while not timer.full:
                    timer.frames += running.step() is not None
            except EndOfClip:
                pass
            return timer.sample()


def plain(plan: Plan) -> Sample:
    """Run the plain loop: decode, resize, run, decode outputs with numpy, NMSBoxes, json."""
    model = manifest.load(plan.model)
    run = _engine(model, plan.threads)
    decoders = _decoders(model, run(np.zeros(model.input.shape, model.input.dtype)))
    with tempfile.TemporaryFile("w", encoding="utf-8") as lines:
        timer = _Timer(plan)
        for image in _frames(plan, timer):
            outputs = run(_blob(image, model))
            lines.write(json.dumps({name: decode(outputs[name], image) for name, decode in decoders.items()}) + "\n")
        return timer.sample()


def bare(plan: Plan) -> Sample:
    """Decode the clip and run the model on a constant input."""
    model = manifest.load(plan.model)
    run = _engine(model, plan.threads)
    tensor = np.zeros(model.input.shape, model.input.dtype)
    timer = _Timer(plan)
    for _ in _frames(plan, timer):
        run(tensor)
    return timer.sample()


class _Timer:
    """Counts frames and measures wall and CPU time from construction, after everything is loaded, to `sample`."""

    def __init__(self, plan: Plan) -> None:
        self.frames = 0
        self._max = plan.max_frames
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    @property
    def full(self) -> bool:
        return self.frames == self._max

    def sample(self) -> Sample:
        wall, cpu = time.perf_counter() - self._wall, time.process_time() - self._cpu
        return Sample(self.frames, wall, cpu, _peak_rss_mb())


def _peak_rss_mb() -> float:
    """The peak resident memory of this process, 10^6 bytes. Not ru_maxrss, which includes the parent's."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(kib) * 1024 / 1e6


def _settings(plan: Plan, folder: Path) -> config.Config:
    path = folder / "config.yaml"
    path.write_text(
        f"device: {{id: bench}}\nsource: {{type: synthetic}}\nmodel: {{path: {json.dumps(str(plan.model.resolve()))}, "
        f"backend: onnx, threads: {plan.threads}}}\nsinks: [{{type: jsonl, path: results.jsonl}}]\n",
        encoding="utf-8",
    )
    settings = config.load(path)
    clip = config.from_url(str(plan.clip))
    options = {**clip.plugin.options, "pace": "fast"} if clip.plugin.type == "video" else clip.plugin.options
    return settings.replaced(source=replace(clip, plugin=replace(clip.plugin, options=options)))


def _frames(plan: Plan, timer: _Timer) -> Iterator[UInt8]:
    capture = cv2.VideoCapture(str(plan.clip))
    while not timer.full:
        ok, image = capture.read()
        if not ok:
            return
        yield image.astype(np.uint8, copy=False)
        timer.frames += 1


def _engine(model: Manifest, threads: int) -> Callable[[NDArray[Any]], dict[str, Outputs]]:
    """The model on onnxruntime, as one fused graph if it has one. Returns tensor -> outputs by head and name."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3

    def load(graph: Graph) -> Any:
        return onnxruntime.InferenceSession(str(graph.path), options, providers=["CPUExecutionProvider"])

    if "onnx" in model.fused:
        fused = load(model.graph(model.fused, "onnx"))
        return lambda tensor: _by_head(_run(fused, {}, tensor))
    backbone = [load(graph) for graph in model.backbone_graphs("onnx")]
    heads = {name: load(model.graph(spec.graph, "onnx")) for name, spec in model.heads.items() if spec.graph}

    def run(tensor: NDArray[Any]) -> dict[str, Outputs]:
        features: Outputs = {}
        for session in backbone:
            features.update(_run(session, features, tensor))
        return {name: _run(session, features, tensor) for name, session in heads.items()}

    return run


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


def _blob(image: UInt8, model: Manifest) -> NDArray[Any]:
    spec = model.input
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
    if spec.dtype == "float32":
        tensor = canvas.astype(np.float32)
        if any(spec.mean):
            tensor -= np.array(spec.mean, np.float32)
        tensor /= np.array(spec.std, np.float32) if len(set(spec.std)) > 1 else np.float32(spec.std[0])
    return np.ascontiguousarray(tensor[None] if spec.layout == "nhwc" else tensor.transpose(2, 0, 1)[None])


def _decoders(model: Manifest, probe: dict[str, Outputs]) -> dict[str, Callable[[Outputs, UInt8], Any]]:
    """Decoders by head: plain numpy for FastestDet; for other families edge-app's own, which favors the plain loop."""

    def own_decoder(spec: ManifestHead) -> Callable[[Outputs, UInt8], Any]:
        outputs = tuple(TensorSpec(name, value.shape, str(value.dtype)) for name, value in probe[spec.name].items())
        head = registry.build("heads", spec.family, spec.spec(outputs), **spec.options)

        def decode(outputs: Outputs, image: UInt8) -> Any:
            transform = fit((image.shape[1], image.shape[0]), spec.input_size, model.input.resize)
            result = head.decode(outputs, transform)
            arrays = {field.name: getattr(result, field.name) for field in fields(result)}
            return {
                name: [np.asarray(a).tolist() for a in array] for name, array in arrays.items() if array is not None
            }

        return decode

    return {
        name: _decode_fastestdet if spec.family == "fastestdet" else own_decoder(spec)
        for name, spec in model.heads.items()
        if spec.graph
    }


def _decode_fastestdet(outputs: Outputs, image: UInt8) -> Any:
    (prediction,) = outputs.values()  # (1, 5 + classes, h, w)
    height, width = image.shape[:2]
    _, channels, rows, columns = prediction.shape
    cells = prediction.reshape(channels, -1)  # (5 + classes, h * w)
    label = cells[5:].argmax(axis=0)
    score = cells[0] ** 0.6 * cells[5:].max(axis=0) ** 0.4
    index = np.flatnonzero(score > SCORE)
    cells, label, score = cells[:, index], label[index], score[index]
    cx = (np.tanh(cells[1]) + index % columns) / columns * width
    cy = (np.tanh(cells[2]) + index // columns) / rows * height
    w = width / (1 + np.exp(-cells[3]))
    h = height / (1 + np.exp(-cells[4]))
    boxes = np.stack((cx - w / 2, cy - h / 2, w, h), axis=1)
    selected_rows = cv2.dnn.NMSBoxes(boxes.tolist(), score.tolist(), SCORE, NMS_IOU)
    return [
        {"label": int(label[i]), "score": float(score[i]), "box": boxes[i].tolist()}
        for i in np.array(selected_rows).flatten()
    ]


def main() -> int:
    variant, clip, model, threads, max_frames = sys.argv[1:]
    plan = Plan(Path(clip), Path(model), int(threads), int(max_frames) or None)
    try:
        sample = {"plain": plain, "runtime": runtime, "bare": bare}[variant](plan)
    except EdgeError as exc:
        print(exc, file=sys.stderr)
        return exc.exit_code
    print(json.dumps(asdict(sample)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
