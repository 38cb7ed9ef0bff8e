"""Run a published file in several ways, of which the differences are rounding. Not here: the comparison (proof.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from edge_app.compiler.calibration_images import CalibrationImages
from edge_app.compiler.input_models import InputModel
from edge_app.compiler.session import Array, HostSession


@dataclass(frozen=True, slots=True)
class Runs:
    """Outputs of the published files, by image. names: of the outputs.

    plain: as onnxruntime optimizes them. unoptimized, changed: without optimization, and the second with the last bit
    of the input changed; what differs is rounding.
    """

    names: tuple[str, ...]
    plain: list[list[Array]]
    unoptimized: list[list[Array]]
    changed: list[list[Array]]

    @classmethod
    def of(cls, model: InputModel, images: CalibrationImages, rows: Sequence[int]) -> Runs:
        bare = replace(model, sessions=[HostSession(graph, optimize=False) for graph in model.graphs])
        prepared = [model.prepared(images.pixels[row]) for row in rows]
        runs = [[m.infer(tensor) for tensor in prepared] for m in (model, bare)]
        changed = [bare.infer(_last_bit(tensor)) for tensor in prepared]
        return cls(tuple(bare.sessions[-1].outputs), runs[0], runs[1], changed)

    def noise(self) -> float:
        """The largest difference of two runs, as `largest_error` measures it."""
        runs = zip(self.plain, self.unoptimized, self.changed)
        return max(max(largest_error(a, b), largest_error(a, c)) for a, b, c in runs)


def _last_bit(tensor: Array) -> Array:
    """Every second value moved to the next one that its type has. Integers are returned as they are."""
    if tensor.dtype.kind != "f":
        return tensor
    up = np.random.default_rng(0).random(tensor.shape) < 0.5
    moved: Array = np.nextafter(tensor, np.where(up, np.inf, -np.inf).astype(tensor.dtype))
    return moved


def largest_error(expected: Sequence[Array], found: Sequence[Array]) -> float:
    """The largest |a - b| / max(1, |a|), with a of `expected`; infinite if only one of both is finite."""
    worst = 0.0
    for a, b in zip([array.astype(np.float64) for array in expected], [array.astype(np.float64) for array in found]):
        same = (a == b) | (np.isnan(a) & np.isnan(b))
        with np.errstate(invalid="ignore"):
            errors = np.where(same, 0, np.abs(a - b) / np.maximum(1, np.abs(a)))
        worst = max(worst, float(np.nan_to_num(errors, nan=np.inf, posinf=np.inf).max(initial=0)))
    return worst
