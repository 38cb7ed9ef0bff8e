"""Golden vectors: check that this machine computes the outputs that the host computed when it compiled the model.

golden.npz has `image` (N, *input shape) and, for each output, `head/output` (N, ...): the float32 outputs of the
float32 graph on the host. `target:head/output` are the outputs of an NPU's simulator.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array, Graph
from edge_app.config import Config
from edge_app.errors import BackendError
from edge_app.inference.stage import Inference, open_backend
from edge_app.model.manifest import GOLDEN

TOLERANCE = 1e-3  # relative to max(1, |value|): engine builds round differently; a wrong model is off by far more
COSINE = 0.99  # least cosine similarity of an NPU and its simulator, which do not round in the same way


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """The outcome of one replay of all vectors.

    engine: name and version. in_parts: with the separate graphs of a model that also has a fused one.
    notes: the backend's warnings about versions.
    """

    verdict: Literal["ok", "warn", "fail"]
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


def _compare(config: Config, inference: Inference, target: str) -> tuple[Literal["ok", "warn", "fail"], str]:
    """Compare with the target's own vectors (of an NPU's simulator) if there are any, else with the float32 vectors."""
    path = config.manifest.folder / GOLDEN
    if not path.exists():
        spec = config.manifest.input
        inference.check_decoders(np.zeros(spec.shape, spec.dtype))
        return "warn", f"{path}: missing; cannot check that this machine computes what the host computed"
    try:
        vectors = _read(Graph(path, config.manifest.sha256.get(GOLDEN)))
        images = vectors["image"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        return "fail", f"{path}: unreadable: {exc}; expected arrays 'image' and 'head/output'"
    errors, cosines = [], []
    for i, image in enumerate(images):
        inference.check_decoders(image[None])
        for head, outputs in inference.outputs(image[None]).items():
            for output, values in outputs.items():
                own = vectors.get(f"{target}:{head}/{output}")
                reference = vectors.get(f"{head}/{output}") if own is None else own
                if reference is None or len(reference) != len(images):
                    return (
                        "fail",
                        f"{path}: no '{head}/{output}' for {len(images)} inputs; it belongs to another model",
                    )
                if own is None:
                    errors.append(golden_error(reference[i][None], values))
                else:
                    _check_shape(reference[i][None], values)
                    cosines.append(cosine(reference[i], values))
    if cosines:
        least = min(cosines)
        text = f"{len(images)} inputs replayed; least cosine similarity {least:.4f}, expected at least {COSINE}"
        return "ok" if least >= COSINE else "fail", text
    worst = max(errors, default=float("inf"))
    text = f"{len(images)} inputs replayed; largest error {worst:.1e}, allowed {TOLERANCE:.0e}"
    return "ok" if worst <= TOLERANCE else "fail", text


def _read(file: Graph) -> Mapping[str, NDArray[Any]]:
    with np.load(io.BytesIO(file.read()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def golden_error(reference: Array, found: Array) -> float:
    """The largest |a - b| / max(1, |b|), where b is the reference. Raises BackendError if shapes differ."""
    _check_shape(reference, found)
    difference = np.abs(found.astype(np.float32) - reference) / np.maximum(1, np.abs(reference))
    return float(difference.max(initial=0))


def _check_shape(reference: Array, found: Array) -> None:
    if reference.shape != found.shape:
        raise BackendError(f"found an output of shape {found.shape}; expected {reference.shape} by the golden vector")


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity of two arrays of the same size, flattened. 1 for two arrays of zeros."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length else float(np.array_equal(x, y))
