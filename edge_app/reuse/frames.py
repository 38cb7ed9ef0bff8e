"""The decision, frame by frame: what must be computed, cheapest answer first.

gate: nothing changed, results stand. heads: features stand, and a head that has not seen them yet runs. partial: some
blocks changed, and features are computed again there. dense: everything.
Not here: what a change is (change.py), how features are computed in part (features.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array
from edge_app.reuse.change import ChangeDetector, grid
from edge_app.reuse_block import Reuse
from edge_app.shapes import inside_any, polygon_of

UInt8 = NDArray[np.uint8]
Kind = Literal["gate", "heads", "partial", "dense"]
OutputsOf = Callable[[str], Mapping[str, Array]]


@dataclass(frozen=True, slots=True)
class Step:
    """The answer for one frame. run: the heads to decode, from `outputs_of` them; the other heads' results stand.

    since_ns: when the oldest of what their outputs rest on was computed.
    """

    kind: Kind
    run: frozenset[str]
    outputs_of: OutputsOf
    since_ns: int


class FrameReuse:
    """Decides for one model and one camera. size: of the model's input. heads: all that look at the whole picture.

    dense: computes everything for an input tensor; what it returns gives a head's outputs until the next call.
    """

    def __init__(
        self, settings: Reuse, size: tuple[int, int], heads: Collection[str], dense: Callable[[Array], OutputsOf]
    ) -> None:
        self._max_age_ns = round(settings.max_age_s * 1e9)
        self._heads = frozenset(heads)
        self._detector = ChangeDetector(size, settings.tolerance, _counted(settings, size))
        self._dense = dense
        self._outputs_of: OutputsOf | None = None
        self._behind: frozenset[str] = self._heads  # have not seen the present features
        self._since_ns = 0
        self._counts = {"gate": 0, "heads": 0, "partial": 0, "dense": 0}
        self._area = 0.0
        self._overhead_ns = 0

    def __call__(self, picture: UInt8, tensor: Array, now_ns: int, due: Collection[str], new: Collection[str]) -> Step:
        """Answer a frame. picture: as in Preprocess. due: the heads that want a result; new: those that have none."""
        start = time.perf_counter_ns()
        self._behind |= frozenset(new)
        change = self._detector.look(picture)
        expired = not 0 <= now_ns - self._since_ns <= self._max_age_ns
        self._overhead_ns += time.perf_counter_ns() - start
        if change.kind == "none" and not expired and self._outputs_of is not None:
            step = self._standing(frozenset(due))
        else:
            step = self._everything(tensor, now_ns, frozenset(due))
        self._behind -= step.run
        self._counts[step.kind] += 1
        return step

    def refresh(self) -> None:
        """Compute everything with the next frame: another camera, another picture."""
        self._detector.forget()

    def stats(self) -> dict[str, Any]:
        """Counts by answer; the share of the area computed again; bytes cached; milliseconds beside inference."""
        frames = max(1, sum(self._counts.values()))
        return {
            **self._counts,
            "area": self._area / frames,
            "overhead_ms": self._overhead_ns / frames / 1e6,
            "cache_bytes": 0,
            "noise": self._detector.noise,
            "tolerance": self._detector.tolerance,
        }

    def _standing(self, due: frozenset[str]) -> Step:
        assert self._outputs_of is not None
        run = due & self._behind
        return Step("heads" if run else "gate", run, self._outputs_of, self._since_ns)

    def _everything(self, tensor: Array, now_ns: int, due: frozenset[str]) -> Step:
        self._outputs_of = None  # should it fail, nothing stands
        self._outputs_of = self._dense(tensor)
        self._detector.anchor(None)
        self._behind, self._since_ns = self._heads, now_ns
        self._area += 1.0
        return Step("dense", due, self._outputs_of, now_ns)


def _counted(settings: Reuse, size: tuple[int, int]) -> UInt8 | None:
    """Blocks whose changes count, as a mask over the grid; None where all do."""
    if not settings.ignore:
        return None
    columns, rows = grid(size)
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    ignored = inside_any(
        np.stack([x.ravel(), y.ravel()], axis=1), [polygon_of("ignore", each) for each in settings.ignore]
    )
    return np.where(ignored, 0, 255).astype(np.uint8).reshape(rows, columns)
