"""Golden vectors: check that this machine computes the outputs that the host computed when it compiled the model.

golden.npz has `image` (N, *input shape) and, for each output, `head/output` (N, ...): the float32 outputs of the
float32 graph on the host. `target:head/output` are the outputs of an NPU's simulator.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np

from edge_app.backends import Array
from edge_app.config import Config
from edge_app.errors import BackendError, ModelError
from edge_app.inference.engine import open_backend
from edge_app.inference.golden_file import GoldenFile
from edge_app.inference.stage import Inference
from edge_app.model.manifest import GOLDEN

TOLERANCE = 1e-3  # relative to max(1, |value|): engine builds round differently; a wrong model is off by far more
COSINE = 0.99  # least cosine similarity of an NPU and its simulator, which do not round in the same way
Verdict = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """The outcome of one replay of all vectors.

    engine: name and version. in_parts: with the separate graphs of a model that also has a fused one.
    notes: the backend's warnings about versions.
    """

    verdict: Verdict
    text: str
    engine: str
    in_parts: bool = False
    notes: tuple[str, ...] = ()


def replay(config: Config) -> Iterator[GoldenResult]:
    """Load the model as `edge-app run` does and replay its golden vectors.

    A fused model is also replayed with its separate graphs, which run if a head has its own schedule.
    Raises EdgeError if the model cannot be loaded.
    """
    for in_parts in (False, True):
        backend = open_backend(config.manifest, config.model)
        if in_parts and not config.manifest.fused.get(backend.target):
            backend.close()
            return
        with closing(Inference(config.manifest, backend, config.heads, fused=not in_parts)) as inference:
            verdict, text = _compare(config, inference, backend.target)
            notes = tuple(getattr(backend, "notes", ()))
            yield GoldenResult(verdict, text, inference.backend, in_parts, notes)


def _compare(config: Config, inference: Inference, target: str) -> tuple[Verdict, str]:
    """Compare with the target's own vectors (of an NPU's simulator) if there are any, else with the float32 vectors."""
    path, spec = config.manifest.folder / GOLDEN, config.manifest.input
    if not config.manifest.files():
        inference.check_decoders(np.zeros(spec.shape, spec.dtype))
        return "ok", "no model; heads without a network were run on a gray image"
    if not path.exists():
        inference.check_decoders(np.zeros(spec.shape, spec.dtype))
        return "warn", f"{path}: missing; cannot check that this machine computes what the host computed"
    try:
        file = GoldenFile(config.manifest.file(GOLDEN))
        images = file.array("image", (spec.dtype,), (None, *spec.shape[1:]))
    except ModelError as exc:
        return "fail", str(exc)
    except ValueError as exc:
        return "fail", f"{path}: {exc}"
    for image in images:
        inference.check_decoders(image[None])
    found = [inference.outputs(image[None]) for image in images]
    try:
        return _compare_outputs(file, found, target)
    except ValueError as exc:
        return "fail", f"{path}: {exc}: it belongs to another model"


def _compare_outputs(file: GoldenFile, found: list[dict[str, dict[str, Array]]], target: str) -> tuple[Verdict, str]:
    """found: of every input, the outputs by head and name. Raises ValueError if the file has no such vectors."""
    errors, cosines = [], []
    for head, output in ((head, output) for head, outputs in found[0].items() for output in outputs):
        values = [by_head[head][output] for by_head in found]
        name, own = f"{head}/{output}", f"{target}:{head}/{output}"
        dtypes = sorted({"float32", values[0].dtype.name})
        shape = (len(found), *values[0].shape[1:])
        reference = file.array(own if own in file else name, dtypes, shape)
        if own in file:
            cosines += [cosine(expected, value) for expected, value in zip(reference, values)]
        else:
            errors += [golden_error(expected[None], value) for expected, value in zip(reference, values)]
    if cosines:
        least = float(np.min(cosines))  # NaN if any is
        text = f"{len(found)} inputs replayed; least cosine similarity {least:.4f}, expected at least {COSINE}"
        return "ok" if least >= COSINE else "fail", text
    worst = float(np.max(errors, initial=0.0)) if errors else float("inf")
    text = f"{len(found)} inputs replayed; largest error {worst:.1e}, allowed {TOLERANCE:.0e}"
    return "ok" if worst <= TOLERANCE else "fail", text


def golden_error(reference: Array, found: Array) -> float:
    """The largest |a - b| / max(1, |b|), where b is the reference. Raises BackendError if shapes differ."""
    _check_shape(reference, found)
    expected = reference.astype(np.float32)
    with np.errstate(all="ignore"):  # the vectors may hold any value; NaN is a mismatch
        difference = np.abs(found.astype(np.float32) - expected) / np.maximum(1, np.abs(expected))
    return float(difference.max(initial=0))


def _check_shape(reference: Array, found: Array) -> None:
    if reference.shape != found.shape:
        raise BackendError(f"found an output of shape {found.shape}; expected {reference.shape} by the golden vector")


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity of two arrays of the same size, flattened. 1 for two arrays of zeros."""
    with np.errstate(all="ignore"):
        x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
        length = float(np.linalg.norm(x) * np.linalg.norm(y))
        return float(x @ y) / length if length else float(np.array_equal(x, y))
