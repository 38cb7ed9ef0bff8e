"""The decision, frame by frame: what must be computed, cheapest answer first.

gate: nothing changed, results stand. heads: features stand, and a head that has not seen them yet runs. partial: some
blocks changed, and features are computed again there. dense: everything. Under a budget there is a fifth,
carried: there is no time, results are held, and tracking moves their boxes.
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
from edge_app.config.reuse import ReuseConfig
from edge_app.frame import JsonValue
from edge_app.geometry.polygons import inside_any, polygon_of
from edge_app.reuse.budget import TimeBudget
from edge_app.reuse.calibrate import Seen, measured
from edge_app.reuse.change_detection import ChangeDetector, grid
from edge_app.reuse.costs import Clock, Costs, assumed
from edge_app.reuse.dirty_rects import Box, of_blocks
from edge_app.reuse.feature_cache import Features
from edge_app.reuse.refresh import Sweep
from edge_app.reuse.relaxation import TOLERANCE, eased
from edge_app.reuse.throttle import Guard, Parts

UInt8 = NDArray[np.uint8]
Kind = Literal["gate", "heads", "partial", "dense", "carried"]
TILE_ALIGN = 32  # pixels
_RATIO, _LEAST_RATIO, _RELENT, _RATE = 0.7, 0.3, 0.995, 0.2
_WORTH = 0.95  # of a dense frame: more is not tried
_KEPT = 1.0  # the same while the features are there, which a dense frame would lose
_RENEWED = 8.0  # dense frames' worth of partial ones: behind them, what they left undone is made good by a dense one
_CHEAP = 0.5  # of a dense frame: what cost less counts as one, since there is time to make good more often
OutputsOf = Callable[[str], Mapping[str, Array] | None]


@dataclass(frozen=True, slots=True)
class Decision:
    """The answer for one frame.

    run: the heads to decode, from `outputs_of` them; where that is None, and of all other heads, results stand, but for
    those `held`, which there was no time to look at. since_ns: when the oldest of what outputs rest on was computed.
    """

    kind: Kind
    run: frozenset[str]
    outputs_of: OutputsOf
    since_ns: int
    held: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class HeadClock:
    """on_change: the head does not run while nothing has changed. priority: those of a lower one wait first."""

    on_change: bool = True
    priority: int = 0


class FrameReuse:
    """Decides for one model and one camera. size: of the model's input. heads: all that look at the whole picture.

    dense: computes everything for an input tensor, the fastest way; what it returns gives a head's outputs until the
    next call. features: what can be computed in part; None: nothing can. costs: of this machine, where known.
    """

    def __init__(
        self,
        settings: ReuseConfig,
        size: tuple[int, int],
        heads: Mapping[str, HeadClock],
        dense: Callable[[Array], OutputsOf],
        *,
        features: Features | None = None,
        costs: Costs | None = None,
    ) -> None:
        self._size = size
        self._settings = settings
        self._heads = frozenset(heads)
        self._always = frozenset(name for name, clock in heads.items() if not clock.on_change)
        self._first = sorted(heads, key=lambda name: -heads[name].priority)
        self._detector = ChangeDetector(size, settings.tolerance, _counted(settings, size))
        self._dense = dense
        self._features = features
        self._costs = costs or assumed({})
        self._guard = Guard(self._costs.look / self._costs.dense)
        self._parts = Parts()
        self._outputs_of: OutputsOf | None = None
        self._filled = False  # the features are those of the reference
        self._behind: frozenset[str] = self._heads  # have not seen the present features
        self._since_ns = 0
        self._looked = True
        self._refresh = False
        self._rest = 0  # frames to compute densely without a look
        self._ease = self._eased = False  # asked for, and in effect
        self._bound()
        self._ratio = _RATIO  # of what partial frames cost to what was predicted
        self._predicted_ms = 0.0
        self._owed = 0.0  # what partial frames have cost since everything was computed, in dense ones
        self._last: Kind | None = None
        self._counts = {"gate": 0, "heads": 0, "partial": 0, "dense": 0, "carried": 0}
        self._share = 0.0
        self._total_ns = self._engine_ns = 0

    def decide(
        self, picture: UInt8, tensor: Array, now_ns: int, due: Collection[str], new: Collection[str]
    ) -> Decision:
        """Answer a frame. picture: as in Preprocess. due: the heads that want a result; new: those that have none."""
        undisturbed = not self._refresh and self._eased == self._ease and self._budget is None
        if self._rest > 1 and not self._looked and undisturbed:
            return self._resting(tensor, now_ns, due)
        start = time.thread_time_ns()
        self._behind |= frozenset(new)
        if self._behind and self._outputs_of is _not_kept:
            self._outputs_of = None
        if self._features is not None:
            self._features.forget(new)
        self._settle()
        if self._eased != self._ease:
            self._eased = self._ease
            self._bound()
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

    def let_go(self) -> None:
        """The last step's heads have run: forget outputs that no head waits for.

        Kept until the next frame, they had the engine work in other, colder memory, for 1 to 3 % of a dense frame.
        """
        if self._outputs_of is not None and not (self._filled or self._behind or self._always):
            self._outputs_of = _not_kept

    def refresh(self) -> None:
        """Compute everything with the next frame: another camera, another picture. May be called by any thread."""
        self._refresh = True

    def ease(self, wanted: bool) -> None:
        """Compute less than was configured from the next frame on (ease.py), or as configured. For any thread."""
        self._ease = wanted

    def measure(self, seen: Seen, clock: Clock = time.thread_time) -> Costs:
        """Measure what every step takes on this machine, and decide by that from now on. clock: as in Stopwatch."""
        self._outputs_of, self._filled, self._last = None, False, None
        self.use(measured(seen, self._dense, self._features, clock))
        return self._costs

    def use(self, costs: Costs) -> None:
        """Decide by these costs from now on. Raises ValueError where they are another model's."""
        if self._features is not None and set(costs.units) != {unit.name for unit in self._features.units}:
            raise ValueError(f"found costs of {', '.join(costs.units)}; expected those of this model's steps")
        self._costs = costs
        if self._features is not None:
            self._features.costs = costs
        self._guard = Guard(costs.look / costs.dense)
        self._bound()

    def stats(self) -> dict[str, JsonValue]:
        """Counts by answer; the share of the work done again; bytes cached; milliseconds a frame beside inference."""
        frames = max(1, sum(self._counts.values()))
        return {
            **self._counts,
            "share": self._share / frames,
            "overhead_ms": (self._total_ns - self._engine_ns) / frames / 1e6,
            "features": self._features is not None,
            "cache_bytes": self._detector.bytes + (0 if self._features is None else self._features.cache_bytes()),
            "noise": self._detector.noise,
            "tolerance": self._detector.tolerance,
            "eased": self._eased,
        }

    def _bound(self) -> None:
        """Let what was configured, or what it is eased to, bound what follows."""
        bounds = eased(self._settings, self._costs.dense) if self._eased else self._settings
        self._max_age_ns = round(bounds.max_age_s * 1e9)
        self._budget = None if bounds.budget_ms is None else TimeBudget(bounds.budget_ms)
        self._sweep = Sweep(self._size, self._max_age_ns, TILE_ALIGN)
        self._detector.ease = TOLERANCE if self._eased else 1.0

    def _resting(self, tensor: Array, now_ns: int, due: Collection[str]) -> Decision:
        """In the middle of a rest: not even bookkeeping, which small networks would feel."""
        self._rest -= 1
        self._outputs_of = None
        self._outputs_of = self._dense(tensor)
        self._behind, self._since_ns = self._heads.difference(due), now_ns
        self._counts["dense"] += 1
        self._share += 1.0
        return Decision("dense", frozenset(due), self._outputs_of, now_ns)

    def _answer(self, picture: UInt8, tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        if self._refresh:
            self._refresh, self._rest = False, 0
            self._detector.forget()
        if self._budget is not None:
            self._budget.earn()
        expired = not 0 <= now_ns - self._since_ns <= self._max_age_ns
        self._looked = not self._rest
        if self._rest:
            if self._outputs_of is not None and not expired and not self._afford(self._costs.dense):
                return Decision("carried", frozenset(), self._outputs_of, self._since_ns, due)
            self._rest -= 1
            if not self._rest:
                self._detector.take(picture)
            return self._everything(tensor, now_ns, due, fill=False)
        change = self._detector.look(picture)
        if self._outputs_of is None or expired or change.kind == "first":
            step = self._everything(tensor, now_ns, due, fill=True)
        elif change.kind == "none":
            return self._standing(tensor, now_ns, due)
        elif change.kind == "blocks" and self._features is not None:
            return self._changed(of_blocks(change.blocks, self._size), tensor, now_ns, due)
        elif not self._afford(self._costs.dense):
            return Decision("carried", frozenset(), self._outputs_of, self._since_ns, due)
        else:
            step = self._everything(tensor, now_ns, due, fill=False)
        self._detector.anchor(None)
        return step

    def _standing(self, tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        """Nothing changed: results stand, but for those of heads that have not seen the features yet."""
        assert self._outputs_of is not None
        if self._filled:
            assert self._features is not None
            self._features.spent_ms = 0.0
            tile = self._sweep.due(now_ns, self._since_ns)
            if tile is not None:
                self._renew(tensor, tile)
        wanted = self._pending(due) | (due & self._always)
        run = self._affordable(wanted)
        return Decision("heads" if run else "gate", run, self._outputs_of, self._since_ns, wanted - run)

    def _changed(self, boxes: list[Box], tensor: Array, now_ns: int, due: frozenset[str]) -> Decision:
        """Some of the picture changed: compute again what that reaches, where it costs less than everything."""
        features = self._features
        assert features is not None
        costs = self._costs
        predicted_ms = features.predict_ms(boxes)
        worth = _KEPT if self._filled else _WORTH
        pays = predicted_ms * self._ratio + costs.look + costs.plan < worth * costs.dense
        if not pays:
            self._ratio = max(_LEAST_RATIO, self._ratio * _RELENT)
        pays = self._parts.may() and pays
        features.afford(predicted_ms * self._ratio / costs.dense)
        renew = self._owed > _RENEWED and self._budget is None
        if not pays or not self._filled or renew:
            if self._outputs_of is not None and not self._afford(costs.dense):
                return Decision("carried", frozenset(), self._outputs_of, self._since_ns, due)
            step = self._everything(tensor, now_ns, due, fill=pays)
            self._detector.anchor(None)
            return step
        assert self._outputs_of is not None
        if not self._afford(predicted_ms * self._ratio - self._heads_ms(due)):
            return Decision("carried", frozenset(), self._outputs_of, self._since_ns, due)
        self._predicted_ms = predicted_ms
        self._timed(features.update, tensor, boxes)
        self._detector.anchor(boxes)
        wanted = self._pending(due)
        run = self._affordable(wanted)
        return Decision("partial", run, self._outputs_of, self._since_ns, wanted - run)

    def _everything(self, tensor: Array, now_ns: int, due: frozenset[str], *, fill: bool) -> Decision:
        """Compute all of it. fill: the features too, so that the next frame may be computed in part."""
        self._outputs_of, self._filled = None, False
        if fill and self._features is not None:
            self._timed(self._features.fill, tensor)
            self._outputs_of, self._filled = self._features.changed_outputs_of, True
        else:
            self._outputs_of = self._timed(self._dense, tensor)
        self._sweep.restart()
        self._owed = 0.0
        self._behind, self._since_ns = self._heads, now_ns
        return Decision("dense", due, self._outputs_of, now_ns)

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

    def _affordable(self, wanted: frozenset[str]) -> frozenset[str]:
        """The heads among `wanted` that there is time for, those of the highest priority first."""
        if self._budget is None or not wanted:
            return wanted
        return frozenset(name for name in self._first if name in wanted and self._afford(self._heads_ms((name,))))

    def _afford(self, cost_ms: float) -> bool:
        return self._budget is None or self._budget.spend(cost_ms)

    def _heads_ms(self, names: Collection[str]) -> float:
        """What running heads takes at most."""
        units = self._costs.units
        return sum(units[f"head {name}"](1.0) for name in names if f"head {name}" in units) * self._ratio

    def _settle(self) -> None:
        """Note what the last frame has cost, now that its heads have run."""
        if self._last is None:
            return
        share = self._costs.look / self._costs.dense if self._looked else 0.0
        if self._features is not None and self._filled and self._last != "carried":
            spent_ms = self._features.spent_ms
            share += spent_ms / self._costs.dense
            if self._last == "partial":
                share += self._costs.plan / self._costs.dense
                if not self._features.exact:
                    self._owed += 1.0 if share < _CHEAP else share
                if self._predicted_ms:
                    found = spent_ms / self._predicted_ms
                    self._ratio = max(found, self._ratio + _RATE * (found - self._ratio))
            if self._last in ("partial", "dense"):
                self._parts.note(share)
        elif self._last == "dense":
            share += 1.0
            self._parts.end()
        self._share += share
        if self._looked:
            self._rest = self._guard.note(share, dense=self._last == "dense" and not self._filled)

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        start = time.thread_time_ns()
        result = call(*arguments)
        self._engine_ns += time.thread_time_ns() - start
        return result


def _not_kept(_: str) -> None:
    """Stands for outputs that are not kept: what all heads said of them stands."""


def _counted(settings: ReuseConfig, size: tuple[int, int]) -> UInt8 | None:
    """Blocks whose changes count, as a mask over the grid; None where all do."""
    if not settings.ignore:
        return None
    columns, rows = grid(size)
    x, y = np.meshgrid((np.arange(columns) + 0.5) / columns, (np.arange(rows) + 0.5) / rows)
    ignored = inside_any(
        np.stack([x.ravel(), y.ravel()], axis=1), [polygon_of("ignore", each) for each in settings.ignore]
    )
    return np.where(ignored, 0, 255).astype(np.uint8).reshape(rows, columns)
