"""Prove that a compiled model gives the results of its published files: decoded results and raw tensors.

The decoded results are those of the runtime's own head with the options of the manifest, against the published outputs
decoded by their published rule. Raw tensors are compared within the rounding noise of the published file, which is
measured. Every difference is a ModelError with one line. Not here: matching boxes (box_proof.py), rules (reference/).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml

from edge_app import registry
from edge_app.backends import TensorSpec
from edge_app.compiler import box_proof, describe, reference, result_proof
from edge_app.compiler.assemble import Runner
from edge_app.compiler.box_proof import NOISE, BoxProof
from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.input_models import InputModel
from edge_app.compiler.published_runs import Runs, largest_error
from edge_app.compiler.reference import Candidates, Published
from edge_app.compiler.session import Array, HostSession
from edge_app.errors import ModelError
from edge_app.frame import Classification, Detections, Embedding, Segmentation, Text
from edge_app.geometry.boxes import fit
from edge_app.heads import Head, HeadSpec
from edge_app.model import manifest as manifests
from edge_app.options import read_options
from edge_app.options.document import Problems

TOLERANCE = 1e-4  # of max(1, |value|), if the noise of the published file is lower
_MAX_TOLERANCE = 0.05  # noise beyond this would make the comparison meaningless
_DRAWS, _DRAWN_BOXES = 4, 500
UNORDERED = {"TopK", "NonMaxSuppression"}


@dataclass(frozen=True, slots=True)
class HeadProof:
    """Result for one head.

    noise: largest difference of two runs of the published file, |a - b| / max(1, |a|); tolerance: derived from it.
    error: of the raw tensors. noise and error are None if the order of the rows means nothing. boxes: None if the head
    has no boxes, or the form of the outputs has no independent rule; drawn: of random values in place of the
    compiled graph's outputs. values: number of class scores or vector elements compared; cells: of class maps, and of
    those inside the regions that the head outlines. scores: error before the last Softmax or Sigmoid, None without.
    """

    noise: float | None
    tolerance: float
    error: float | None
    boxes: BoxProof | None = None
    drawn: BoxProof | None = None
    values: int = 0
    cells: tuple[int, int] = (0, 0)
    scores: float | None = None

    def text(self) -> str:
        """One line for the report."""
        raw = "rows without an order: not compared as tensors"
        if self.error is not None and self.noise is not None:
            raw = f"largest error {self.error:.1e}, tolerance {self.tolerance:.1e} (noise of the file {self.noise:.1e})"
        before = "" if self.scores is None else f"; before the last Softmax or Sigmoid {self.scores:.1e}"
        return f"{self._decoded()}; {raw}{before}"

    def warning(self) -> str:
        """Names the results that were not compared; "" if all were."""
        if self.boxes is not None and not self.boxes.compared:
            return "no box was compared: the file finds none in these images; expected images with --calibrate"
        if self.boxes is None and not self.values and not self.cells[0]:
            return "decoded results were not compared: no independent rule for these outputs; tensors were"
        return ""

    def _decoded(self) -> str:
        if self.cells[0]:
            return f"classes of {self.cells[0]} cells equal, and of {self.cells[1]} inside the head's regions"
        if self.boxes is None:
            return f"{self.values} decoded values equal" if self.values else "compared as tensors only"
        if not self.boxes.compared:
            return "0 boxes compared"
        box = self.boxes
        points = "" if box.landmark_error is None else f", landmarks or corners within {box.landmark_error:.2g} px"
        if box.lowest_mask_iou is not None:
            points += f", {box.masks} masks with an IoU of {box.lowest_mask_iou:.3f} or more"
        return (
            f"{box.matched} of {box.compared} boxes equal from a score of {box.threshold:.2g}"
            f"{' (lowered)' if box.lowered else ''}, IoU {box.lowest_iou:.3f} or more, scores within "
            f"{box.score_error:.1g}{points}{'' if self.drawn is None else f'; {self.drawn.matched} of drawn values'}"
        )


def prove(
    models: Sequence[InputModel], runner: Runner, images: CalibrationImages, rows: Sequence[int]
) -> dict[str, HeadProof]:
    """Compare every model on the images `rows`. Returns the proofs by head. Raises ModelError if something differs."""
    results = [runner.run(images.pixels[row]) for row in rows]
    proofs = {}
    for model in models:
        outputs = [result[model.name] for result in results]
        published = Runs.of(model, images, rows)
        error, noise, tolerance = _raw(model, outputs, published)
        proofs[model.name] = _decoded(model, outputs, published, HeadProof(noise, tolerance, error))
    return proofs


def _raw(
    model: InputModel, outputs: Sequence[Mapping[str, Array]], published: Runs
) -> tuple[float | None, float | None, float]:
    """Error, noise and tolerance of the raw tensors, tails applied. Raises ModelError above the tolerance."""
    if any(np.isnan(array).any() for run in published.plain for array in run if array.dtype.kind == "f"):
        raise ModelError(f"{model.name}: the published file gives values that are no numbers; expected finite ones")
    if UNORDERED & _published(model)[1]:  # the file selects its rows, and rounding changes their order
        return None, None, TOLERANCE
    noise = published.noise()
    tolerance = max(TOLERANCE, min(NOISE * noise, _MAX_TOLERANCE))
    tail = HostSession(model.cut.tail.serialize()) if model.cut else None
    error = 0.0
    for expected, values in zip(published.plain, outputs):
        found = list(values.values())
        if tail is not None:
            found = tail.feed(dict(zip(tail.inputs, found)))
        for a, b in zip(expected, found):
            if a.shape != b.shape:
                raise ModelError(
                    f"{model.name}: the compiled graph returns {b.shape}; expected {a.shape}, "
                    "as from the published file"
                )
        error = max(error, largest_error(expected, found))
    if not error <= tolerance:
        raise ModelError(
            f"{model.name}: outputs differ from the published file by {error:.2g}; expected at most {tolerance:.2g} "
            f"(rounding alone changes the file's own outputs by {noise:.2g})"
        )
    return error, noise, tolerance


def _published(model: InputModel) -> tuple[dict[str, str], frozenset[str]]:
    """Metadata and types of nodes of the published files."""
    metadata, operators = {}, set()
    for graph in model.graphs:
        proto = onnx.ModelProto()
        proto.ParseFromString(graph)
        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        operators |= {node.op_type for node in proto.graph.node}
    return metadata, frozenset(operators)


def _decoded(model: InputModel, outputs: Sequence[Mapping[str, Array]], published: Runs, proof: HeadProof) -> HeadProof:
    """Add the comparison of decoded results."""
    options = written_options(model)
    spec = _spec(model, outputs[0])
    head: Head = registry.build("heads", model.family.name, spec, **options)
    if head.result_type is Text:  # uncertain texts of images without one count, too
        head = registry.build("heads", model.family.name, spec, **{**options, "score": 0.0})
    if head.result_type is Detections:
        boxes, drawn = _boxes(model, spec, options, outputs, published)
        return replace(proof, boxes=boxes, drawn=drawn)
    transform = fit(spec.input_size, spec.input_size, "stretch")
    compared = 0
    for values, expected in zip(outputs, published.plain):
        result = head.decode(values, transform)
        if isinstance(result, Classification):
            compared += result_proof.check_classes(model.name, result, expected[0], options, proof.tolerance)
        elif isinstance(result, Embedding):
            compared += result_proof.check_vector(model.name, result, expected[0], proof.tolerance)
        elif isinstance(result, Text):
            compared += result_proof.check_text(model.name, result, expected[0], spec.labels, options)
        elif isinstance(result, Segmentation) and expected[0].ndim == 4:
            counts = result_proof.check_maps(spec, options, values, expected[0], proof.tolerance)
            proof = replace(proof, cells=(proof.cells[0] + counts[0], proof.cells[1] + counts[1]))
    return replace(proof, values=compared)


def _boxes(
    model: InputModel,
    spec: HeadSpec,
    options: Mapping[str, Any],
    outputs: Sequence[Mapping[str, Array]],
    published: Runs,
) -> tuple[BoxProof | None, BoxProof | None]:
    """Compare the boxes of the images, and those of drawn values, which a tail that was cut off decodes for the file.

    An image may show nothing at some strides and anchors; drawn values reach all of them.
    """
    known = Published(
        model.family.name, options, spec.input_size, _class_count(spec), *_published(model), model.cut is not None
    )

    def boxes(run: Sequence[Array]) -> Candidates | None:
        return reference.candidates(known, dict(zip(published.names, run)))

    runs = [(boxes(plain), boxes(changed)) for plain, changed in zip(published.plain, published.changed)]
    compared = [(values, (a, b)) for values, (a, b) in zip(outputs, runs) if a is not None and b is not None]
    if not compared:
        if model.cut is None:
            return None, None
        raise ModelError(
            f"{model.name}: the file's own decoding has been cut off, and its outputs have no rule to compare the "
            f"{model.family.name} head with; expected a form that models/README.md lists"
        )
    pairs = [pair for _, pair in compared]
    proved = box_proof.prove(spec, options, [values for values, _ in compared], pairs)
    if model.cut is None and pairs[0][0].final:
        return proved, None
    tail = HostSession(model.cut.tail.serialize()) if model.cut else None
    drawn = [_drawn(outputs, seed, by_channel=tail is None) for seed in range(_DRAWS)]
    decoded = []
    for values in drawn:
        arrays = list(values.values())
        found = boxes(arrays if tail is None else tail.feed(dict(zip(tail.inputs, arrays))))
        assert found is not None
        decoded.append((found, found))
    return proved, box_proof.prove(spec, options, drawn, decoded, few=_DRAWN_BOXES)


def _class_count(spec: HeadSpec) -> int:
    """Of the labels, else of the scores that the compiler has cut at; 0 if unknown."""
    channels = [output.shape[1] for output in spec.outputs if output.name.startswith("scores") and output.shape[1:]]
    return len(spec.labels) or (channels[0] or 0 if channels else 0)


def _drawn(outputs: Sequence[Mapping[str, Array]], seed: int, *, by_channel: bool) -> dict[str, Array]:
    """Tensors whose values are drawn from those of all tensors with as many channels, in all images.

    by_channel: from those of the same channel; else from all channels, which gives every anchor the same chance.
    """
    rng = np.random.default_rng(seed)
    pools: dict[int, list[Array]] = {}
    for image in outputs:
        for array in image.values():
            by_cell = np.moveaxis(array, _channel_axis(array), -1)
            pools.setdefault(by_cell.shape[-1], []).append(by_cell.reshape(-1, by_cell.shape[-1]))
    joined = {channels: np.concatenate(parts) for channels, parts in pools.items()}
    drawn = {}
    for name, array in outputs[0].items():
        axis = _channel_axis(array)
        shape = np.moveaxis(array, axis, -1).shape
        pool = joined[shape[-1]]
        if by_channel:
            values = np.stack([rng.choice(pool[:, c], shape[:-1]) for c in range(shape[-1])], axis=-1)
        else:
            values = rng.choice(pool.reshape(-1), shape)
        drawn[name] = np.ascontiguousarray(np.moveaxis(values, -1, axis))
    return drawn


def _channel_axis(array: Array) -> int:
    """Of a map (1, C, h, w) or (1, A, h, w, C), and of a table, whose other axis is longer."""
    if array.ndim == 3:
        return 1 if array.shape[1] < array.shape[2] else 2
    return 1 if array.ndim == 4 else array.ndim - 1


def written_options(model: InputModel) -> dict[str, Any]:
    """The head's options as the manifest will give them to the runtime. Raises ConfigError for one that is invalid."""
    problems = Problems(Path(manifests.FILE))
    text = yaml.safe_dump(describe.plain(dict(model.options)))
    schema = registry.options("heads", model.family.name)
    options = read_options(yaml.compose(text), schema, f"heads.{model.name}.options", problems)
    problems.raise_if_any()
    return options


def _spec(model: InputModel, outputs: Mapping[str, Array]) -> HeadSpec:
    tensors = tuple(TensorSpec(name, array.shape, array.dtype.name) for name, array in outputs.items())
    height, width = model.net.inputs[0].shape[2:]
    return HeadSpec(model.name, model.family.name, labels(model), (width or 0, height or 0), tensors)


def labels(model: InputModel) -> tuple[str, ...]:
    """The model's labels; those of a set that it names."""
    return model.labels if isinstance(model.labels, tuple) else manifests.label_set(model.labels)
