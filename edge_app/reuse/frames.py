"""The decision, frame by frame: what must be computed, cheapest answer first.

gate: nothing changed, results stand. heads: features stand, and a head that has not seen them yet runs. partial: some
blocks changed, and features are computed again there. dense: everything.
Not here: what a change is (change.py), how features are computed in part (features.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edge_app.backends import Array
from edge_app.reuse.boxes import Box, of_blocks
from edge_app.reuse.change import ChangeDetector, grid
from edge_app.reuse.cost import Costs, timed_ms
from edge_app.reuse.features import Features
from edge_app.reuse.guard import Guard
from edge_app.reuse.sweep import Sweep
from edge_app.reuse_block import Reuse
from edge_app.shapes import inside_any, polygon_of

UInt8 = NDArray[np.uint8]
Kind = Literal["gate", "heads", "partial", "dense"]
TILE_ALIGN = 32  # pixels
_RATIO, _LEAST_RATIO, _RELENT, _RATE = 0.7, 0.3, 0.98, 0.2
_ROUNDS, _COLD = 20, 2.0  # between inferences the picture is in no cache: a look then takes about twice as long
_LOOK_SHARE = 0.04  # of a dense frame, where it is not known
_WORTH = 0.95  # of a dense frame: more is not tried
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

    dense: computes everything for an input tensor, the fastest way; what it returns gives a head's outputs until the
    next call. features: what can be computed in part; None: nothing can.
    """

    def __init__(
        self,
        settings: Reuse,
        size: tuple[int, int],
        heads: Collection[str],
        dense: Callable[[Array], OutputsOf],
        features: Features | None = None,
    ) -> None:
        self._size = size
        self._max_age_ns = round(settings.max_age_s * 1e9)
        self._heads = frozenset(heads)
        self._detector = ChangeDetector(size, settings.tolerance, _counted(settings, size))
        self._dense = dense
        self._features = features
        self._guard = Guard(_look_share(features))
        self._sweep = Sweep(size, self._max_age_ns, TILE_ALIGN)
        self._outputs_of: OutputsOf | None = None
        self._filled = False  # the features are those of the reference
        self._behind: frozenset[str] = self._heads  # have not seen the present features
        self._since_ns = 0
        self._looked = True
        self._rest = 0  # frames to compute densely without a look
        self._ratio = _RATIO  # of what partial frames cost to what was predicted
        self._predicted_ms = 0.0
        self._last: Kind | None = None
        self._counts = {"gate": 0, "heads": 0, "partial": 0, "dense": 0}
        self._share = 0.0
        self._total_ns = self._engine_ns = 0

    def __call__(self, picture: UInt8, tensor: Array, now_ns: int, due: Collection[str], new: Collection[str]) -> Step:
        """Answer a frame. picture: as in Preprocess. due: the heads that want a result; new: those that have none."""
        start = time.thread_time_ns()
        self._behind |= frozenset(new)
        self._settle()
        try:
            step = self._answer(picture, tensor, now_ns, frozenset(due))
        except BaseException:
            self._outputs_of, self._filled, self._last = None, False, None  # nothing stands
            raise
        self._behind -= step.run
        self._counts[step.kind] += 1
        self._last = step.kind
        self._total_ns += time.thread_time_ns() - start
        return step

    def refresh(self) -> None:
        """Compute everything with the next frame: another camera, another picture."""
        self._detector.forget()
        self._rest = 0

    def measure(self, tensor: Array) -> Costs | None:
        """Measure what every step takes on this machine and decide by that from now on; None: nothing to measure."""
        if self._features is None:
            return None
        self._outputs_of, self._filled, self._last = None, False, None
        costs = self._features.measured(tensor, self._dense)
        width, height = self._size
        detector = ChangeDetector(self._size, None)
        picture = np.zeros((height, width, 3), np.uint8)
        detector.take(picture)
        self._features.costs = replace(costs, look=timed_ms(lambda: detector.look(picture), _ROUNDS) * _COLD)
        self._guard = Guard(_look_share(self._features))
        return self._features.costs

    def stats(self) -> dict[str, Any]:
        """Counts by answer; the share of the work done again; bytes cached; milliseconds a frame beside inference."""
        frames = max(1, sum(self._counts.values()))
        return {
            **self._counts,
            "share": self._share / frames,
            "overhead_ms": (self._total_ns - self._engine_ns) / frames / 1e6,
            "cache_bytes": 0 if self._features is None else self._features.cache_bytes(),
            "noise": self._detector.noise,
            "tolerance": self._detector.tolerance,
        }

    def _answer(self, picture: UInt8, tensor: Array, now_ns: int, due: frozenset[str]) -> Step:
        self._looked = not self._rest
        if self._rest:
            self._rest -= 1
            if not self._rest:
                self._detector.take(picture)
            return self._everything(tensor, now_ns, due, fill=False)
        change = self._detector.look(picture)
        expired = not 0 <= now_ns - self._since_ns <= self._max_age_ns
        if self._outputs_of is None or expired or change.kind == "first":
            step = self._everything(tensor, now_ns, due, fill=True)
        elif change.kind == "none":
            return self._standing(tensor, now_ns, due)
        elif change.kind == "blocks" and self._features is not None:
            return self._changed(of_blocks(change.blocks, self._size), tensor, now_ns, due)
        else:
            step = self._everything(tensor, now_ns, due, fill=False)
        self._detector.anchor(None)
        return step

    def _standing(self, tensor: Array, now_ns: int, due: frozenset[str]) -> Step:
        """Nothing changed: results stand, but for those of heads that have not seen the features yet."""
        assert self._outputs_of is not None
        if self._filled:
            assert self._features is not None
            self._features.spent_ms = 0.0
            tile = self._sweep.due(now_ns, self._since_ns)
            if tile is not None:
                self._renew(tensor, tile)
        run = self._pending(due)
        return Step("heads" if run else "gate", run, self._outputs_of, self._since_ns)

    def _changed(self, boxes: list[Box], tensor: Array, now_ns: int, due: frozenset[str]) -> Step:
        """Some of the picture changed: compute again what that reaches, where it costs less than everything."""
        features = self._features
        assert features is not None
        costs = features.costs
        predicted_ms = features.predict_ms(boxes)
        pays = predicted_ms * self._ratio * costs.factor + costs.look < _WORTH * costs.dense
        if not pays:
            self._ratio = max(_LEAST_RATIO, self._ratio * _RELENT)
        if not pays or not self._filled:
            step = self._everything(tensor, now_ns, due, fill=pays)
            self._detector.anchor(None)
            return step
        self._predicted_ms = predicted_ms
        self._timed(features.update, tensor, boxes)
        self._detector.anchor(boxes)
        assert self._outputs_of is not None
        return Step("partial", self._pending(due), self._outputs_of, self._since_ns)

    def _everything(self, tensor: Array, now_ns: int, due: frozenset[str], *, fill: bool) -> Step:
        """Compute all of it. fill: the features too, so that the next frame may be computed in part."""
        self._outputs_of, self._filled = None, False
        if fill and self._features is not None:
            self._timed(self._features.fill, tensor)
            self._outputs_of, self._filled = self._features.outputs_of, True
        else:
            self._outputs_of = self._timed(self._dense, tensor)
        self._sweep.restart()
        self._behind, self._since_ns = self._heads, now_ns
        return Step("dense", due, self._outputs_of, now_ns)

    def _renew(self, tensor: Array, tile: Box) -> None:
        assert self._features is not None
        self._timed(self._features.renew, tensor, tile)
        self._detector.anchor([tile])
        if self._sweep.complete:
            self._timed(self._features.deepen)
            self._since_ns = self._sweep.began_ns
            self._sweep.restart()

    def _pending(self, due: frozenset[str]) -> frozenset[str]:
        """The heads among `due` that have not seen all of the present features."""
        if not self._filled:
            return due & self._behind
        assert self._features is not None
        return frozenset(name for name in due if name in self._behind or self._features.pending(name))

    def _settle(self) -> None:
        """Note what the last frame has cost, now that its heads have run."""
        if self._last is None:
            return
        if self._features is None or not self._filled:
            share = 1.0 if self._last == "dense" else 0.0
        else:
            costs, spent_ms = self._features.costs, self._features.spent_ms
            share = (spent_ms * (costs.factor if self._last == "partial" else 1.0) + costs.look) / costs.dense
            if self._last == "partial" and self._predicted_ms:
                self._ratio += _RATE * (spent_ms / self._predicted_ms - self._ratio)
        self._share += share
        if self._looked:
            self._rest = self._guard.note(share, dense=self._last == "dense")

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        start = time.thread_time_ns()
        result = call(*arguments)
        self._engine_ns += time.thread_time_ns() - start
        return result


def _look_share(features: Features | None) -> float:
    return _LOOK_SHARE if features is None else features.costs.look / features.costs.dense


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
