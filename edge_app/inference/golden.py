"""Golden vectors: does this machine compute what the host computed when the model was made?

golden.npz holds `image` (N, *input shape) and, for each output, `head/output` (N, ...), float32: what the host's
float32 graph returned. `target:head/output` is what the simulator of an NPU returned.
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

TOLERANCE = 1e-3  # of max(1, |value|): builds of an engine differ in rounding; a wrong model differs by far more
COSINE = 0.99  # of an NPU with its simulator: both round, not always alike


@dataclass(frozen=True, slots=True)
class GoldenResult:
    """One replay of all vectors. engine: name and version. notes: warnings of the backend about versions.

    in_parts: by the single graphs of a model that has a fused one as well.
    """

    verdict: Literal["ok", "warn", "fail"]
    text: str
    engine: str
    in_parts: bool = False
    notes: tuple[str, ...] = ()


def replay(config: Config) -> Iterator[GoldenResult]:
    """Load the model as `run` does and replay its golden vectors.

    A fused model is replayed through its single graphs as well: they run as soon as a head has its own schedule.
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
    """Replay the vectors of the target if it has its own (an NPU's simulator), else those of float32."""
    path = config.manifest.folder / GOLDEN
    if not path.exists():
        return "warn", f"{path}: missing; nothing proves that this machine computes what the host computed"
    try:
        vectors = _read(Graph(path, config.manifest.sha256.get(GOLDEN)))
        images = vectors["image"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as exc:
        return "fail", f"{path}: cannot be read: {exc}; expected 'image' and 'head/output' arrays"
    errors, cosines = [], []
    for i, image in enumerate(images):
        for head, outputs in inference.outputs(image[None]).items():
            for output, values in outputs.items():
                own = vectors.get(f"{target}:{head}/{output}")
                reference = vectors.get(f"{head}/{output}") if own is None else own
                if reference is None:
                    return "fail", f"{path}: has nothing for '{head}/{output}'; it belongs to another model"
                if own is None:
                    errors.append(golden_error(reference[i][None], values))
                else:
                    cosines.append(cosine(reference[i], values))
    if cosines:
        least = min(cosines)
        text = f"{len(images)} inputs replayed; least cosine to the host's outputs {least:.4f}, expected {COSINE}"
        return "ok" if least >= COSINE else "fail", text
    worst = max(errors, default=float("inf"))
    text = f"{len(images)} inputs replayed; largest error {worst:.1e}, allowed {TOLERANCE:.0e}"
    return "ok" if worst <= TOLERANCE else "fail", text


def _read(file: Graph) -> Mapping[str, NDArray[Any]]:
    with np.load(io.BytesIO(file.read()), allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def golden_error(reference: Array, found: Array) -> float:
    """The largest |a - b| / max(1, |b|), where b is the reference. Raises BackendError if shapes differ."""
    if reference.shape != found.shape:
        raise BackendError(f"found an output of shape {found.shape}; the golden vector has {reference.shape}")
    difference = np.abs(found.astype(np.float32) - reference) / np.maximum(1, np.abs(reference))
    return float(difference.max(initial=0))


def cosine(a: Array, b: Array) -> float:
    """Cosine similarity of two arrays of one size, flattened; of two zero vectors 1."""
    x, y = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length else float(np.array_equal(x, y))
