"""Reuse across frames, as the inference stage sees it: one decision per frame, requests, costs and counters.

Not here: how a frame is computed (planner.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping

from edge_app.backends import Array
from edge_app.config.reuse import ReuseConfig
from edge_app.frame import JsonValue
from edge_app.reuse.calibrate import CalibrationPair, measure_costs
from edge_app.reuse.change_detection import ChangeDetector, UInt8, watched_blocks
from edge_app.reuse.cost_account import CostAccount, DecisionKind
from edge_app.reuse.costs import Clock, Costs, assumed_costs
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.guard import AgreementGuard
from edge_app.reuse.head_schedule import HeadPolicy, HeadSchedule
from edge_app.reuse.network_cache import NetworkCache, OutputsOf
from edge_app.reuse.planner import Decision, Planner
from edge_app.reuse.refresh import RollingRefresh
from edge_app.reuse.relaxation import Bounds
from edge_app.reuse.result_comparison import differing
from edge_app.reuse.verification import largest_error


class FrameReuse:
    """Reuse for one model and one camera.

    size: width and height of the model's input. heads: all heads that run on the whole image. dense: runs the whole
    network on an input tensor; what it returns gives a head's outputs until the next call. features: the segments that
    can run on boxes, or None. costs: of this machine, or None: assumed.
    """

    def __init__(
        self,
        settings: ReuseConfig,
        size: tuple[int, int],
        heads: Mapping[str, HeadPolicy],
        dense: Callable[[Array], OutputsOf],
        *,
        features: FeatureCache | None = None,
        costs: Costs | None = None,
    ) -> None:
        self._heads = HeadSchedule(heads)
        self._detector = ChangeDetector(size, settings.tolerance, watched_blocks(settings.ignore, size))
        self._account = CostAccount(costs or assumed_costs({}), settings.refresh_share)
        self._settings = settings
        self._bounds = Bounds(settings, self._account.costs.dense)
        self._network = NetworkCache(dense, features, RollingRefresh(features, self._bounds.max_age_ns))
        self._planner = Planner(self._detector, self._network, self._heads, self._account, self._bounds)
        self._start_guard()
        self._refresh_requested = False
        self._last: DecisionKind | None = None  # of the last frame, until its cost is recorded
        self._counts: dict[str, int] = {"gate": 0, "heads": 0, "partial": 0, "dense": 0, "carried": 0}
        self._decide_ns = 0  # CPU time of all decisions, runs of the network included

    def decide(self, image: UInt8, tensor: Array, now_ns: int, due: Collection[str], new: Collection[str]) -> Decision:
        """Decide how to compute a frame. image: as in Preprocess. due: heads to run; new: those without a result."""
        bounds, account = self._bounds, self._account
        as_before = not self._refresh_requested and bounds.relaxed == bounds.requested and bounds.budget is None
        if account.pause_left > 1 and not account.detected and as_before:
            self._counts["dense"] += 1
            return self._planner.continue_pause(tensor, now_ns, frozenset(due))
        start = time.thread_time_ns()
        self._planner.forget_results_of(new)
        if self._last is not None:
            account.record_frame(self._last, self._network.features if self._network.filled else None)
        if bounds.relaxed != bounds.requested:
            self._apply_bounds()
        if self._refresh_requested:
            self._refresh_requested = False
            self._planner.restart()
        try:
            decision = self._planner.decide(image, tensor, now_ns, frozenset(due))
        except BaseException:
            self._network.invalidate()
            self._last = None
            raise
        self._heads.mark_run(decision.run)
        self._counts[decision.kind] += 1
        self._last = decision.kind
        self._decide_ns += time.thread_time_ns() - start
        return decision

    def compute_in_full(self, tensor: Array, now_ns: int, due: Collection[str]) -> OutputsOf:
        """Compute a frame that was computed in part in full, too, so that their results can be compared."""
        start = time.thread_time_ns()
        outputs_of = self._planner.compute_in_full(tensor, now_ns, frozenset(due))
        self._decide_ns += time.thread_time_ns() - start
        return outputs_of

    def compare(self, pairs: Iterable[tuple[object, object, float]]) -> None:
        """Tell the guard how results of partial frames differ from those of full ones.

        pairs: of each head, the result in part and in full, and the head's least score. Called after `compute_in_full`.
        """
        counts = [differing(*pair) for pair in pairs]
        self._planner.end_check(sum(count for count, _ in counts), sum(total for _, total in counts))

    def release_outputs(self) -> None:
        """Free the outputs that no head needs any longer. Call it after the decision's heads have run."""
        network = self._network
        if network.outputs_of is not None and not (network.filled or self._heads.outdated or self._heads.every_frame):
            network.release_outputs()

    def refresh(self) -> None:
        """Compute the next frame in full: the source changed. Any thread may call it."""
        self._refresh_requested = True

    def relax(self, relaxed: bool) -> None:
        """Relax the bounds from the next frame on (relaxation.py), or restore them. Any thread may call it."""
        self._bounds.requested = relaxed

    def measure_costs(self, pair: CalibrationPair, clock: Clock = time.thread_time) -> Costs:
        """Measure the costs on this machine and use them. clock: as for Stopwatch."""
        self._network.invalidate()
        self._last = None
        costs = measure_costs(pair, self._network.run_unrecorded, self._network.features, clock)
        self.use_costs(costs)
        return costs

    def verify(self, images: tuple[UInt8, UInt8], tensor_of: Callable[[UInt8], Array]) -> float | None:
        """Compare parts with the whole (verification.py). The next frame is computed in full. None without parts."""
        features = self._network.features
        if features is None:
            return None
        self._network.invalidate()
        return largest_error(features, images, tensor_of)

    def use_costs(self, costs: Costs) -> None:
        """Replace the costs. Raises ValueError if they are those of another model."""
        features = self._network.features
        if features is not None:
            expected = [segment.name for segment in features.segments]
            if set(costs.segments) != set(expected):
                raise ValueError(f"costs: found segments {', '.join(costs.segments)}; expected {', '.join(expected)}")
            features.costs = costs
        self._account.use(costs)
        self._apply_bounds()
        self._start_guard()

    def stats(self) -> dict[str, JsonValue]:
        """The counters of the heartbeat.

        By kind of decision, the number of frames. share: the work done, in dense frames per frame. overhead_ms: CPU
        time per frame outside the network. features: whether frames can be computed in part. cache_bytes: memory.
        noise, tolerance: gray levels. eased: whether the bounds are relaxed. agreement: the evidence of the guard, if
        frames can be computed in part.
        """
        frames, network = max(1, sum(self._counts.values())), self._network
        return {
            **self._counts,
            "share": self._account.total / frames,
            "overhead_ms": (self._decide_ns - network.engine_ns) / frames / 1e6,
            "features": network.features is not None,
            "cache_bytes": self._detector.bytes + (0 if network.features is None else network.features.cache_bytes()),
            "noise": self._detector.noise,
            "tolerance": self._detector.tolerance,
            "eased": self._bounds.relaxed,
            **({} if self._planner.guard is None else {"agreement": self._planner.guard.stats()}),
        }

    def _start_guard(self) -> None:
        """Guard partial frames, unless they are exact or costs are assumed, of which a share means nothing."""
        features, self._planner.guard = self._network.features, None
        if features is None or features.exact or self._account.costs.assumed:
            return
        self._planner.guard = AgreementGuard(self._settings.max_loss, features.propagation)

    def _apply_bounds(self) -> None:
        self._bounds.apply(self._account.costs.dense)
        self._detector.tolerance_factor = self._bounds.tolerance_factor
        self._network.rolling.max_age_ns = self._bounds.max_age_ns
        self._network.rolling.restart()
