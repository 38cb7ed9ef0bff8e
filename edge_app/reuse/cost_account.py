"""The cost account: predicts the cost of a frame, records what frames have cost, and throttles what does not pay off.

All amounts come from the cost model, as milliseconds or as shares of a dense frame.
Not here: the costs (costs.py), the throttles (throttle.py), the time budget (budget.py).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

from edge_app.reuse.costs import Costs
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.throttle import DetectionThrottle, PartialThrottle

DecisionKind = Literal["gate", "heads", "partial", "dense", "carried"]
_RATIO, _MIN_RATIO = 0.7, 0.3  # actual to predicted cost of partial frames: initial and minimum
_RATIO_DECAY = 0.995  # per frame that seemed too expensive, so that partial computation is eventually tried again
_RATIO_RATE = 0.2  # weight of a new partial frame in the ratio, if it was cheaper than expected
_WORTHWHILE_TO_FILL = 0.95  # of a dense frame: a partial frame must cost less before the cache is filled
_WORTHWHILE = 1.0  # the same while the cache is filled, since a dense frame would invalidate it
_REFRESH_AFTER = 8.0  # dense frames: after partial frames of this total cost, one frame is computed in full
_CHEAP = 0.5  # of a dense frame: a partial frame below counts as 1 in that total, since there is time for a refresh


class CostAccount:
    """The costs of one model's frames.

    detected: whether the last frame was checked for changes. pause_left: frames until the next check, all dense. total:
    the cost of all frames so far, in dense frames. refresh_share: of a dense frame, for the rolling refresh.
    """

    def __init__(self, costs: Costs, refresh_share: float = 0.05) -> None:
        self.refresh_share = refresh_share
        self.detected = True
        self.pause_left = 0
        self.total = 0.0
        self._ratio = _RATIO
        self._predicted_ms = 0.0  # of the last partial frame
        self._expensive = False  # whether it cost more than half of a dense one
        self._partial_cost_since_refresh = 0.0  # in dense frames
        self._partial = PartialThrottle()
        self.use(costs)

    def use(self, costs: Costs) -> None:
        """Replace the costs."""
        self.costs = costs
        self._detection = DetectionThrottle(costs.detect / costs.dense)

    def partial_pays(self, predicted_ms: float, *, filled: bool) -> bool:
        """Whether computing a frame in part is cheaper than a dense frame. Called once per frame with changed blocks.

        predicted_ms: the maximum cost of the update. filled: whether the feature cache is filled.
        """
        costs = self.costs
        limit = _WORTHWHILE if filled else _WORTHWHILE_TO_FILL
        pays = self.expected_ms(predicted_ms) + costs.detect + costs.plan < limit * costs.dense
        if not pays:
            self._ratio = max(_MIN_RATIO, self._ratio * _RATIO_DECAY)
        return self._partial.allows() and pays

    def expected_ms(self, predicted_ms: float) -> float:
        """The expected cost of an update, less than the predicted maximum because changes usually end early."""
        return predicted_ms * self._ratio

    def heads_ms(self, names: Collection[str]) -> float:
        """The expected cost of running these heads."""
        wanted = {f"head {name}" for name in names}
        parts = (cost for name, cost in self.costs.segments.items() if name.partition("/")[0] in wanted)
        return sum(cost(1.0) for cost in parts) * self._ratio

    @property
    def refresh_ms(self) -> float:
        """What a frame may spend on the rolling refresh. 0 with assumed costs, of which a share means nothing."""
        return 0.0 if self.costs.assumed else self.refresh_share * self.costs.dense

    @property
    def refresh_due(self) -> bool:
        """Whether partial frames have cost so much that one frame must be computed in full.

        With measured costs, cheap frames have the rolling refresh for that (refresh.py). An expensive frame is replaced
        by a dense one, which costs less in all than the tiles would.
        """
        due = self._partial_cost_since_refresh > _REFRESH_AFTER
        return due and (self.costs.assumed or self._expensive)

    def start_partial(self, predicted_ms: float) -> None:
        """A frame is computed in part."""
        self._predicted_ms = predicted_ms

    def end_refresh(self) -> None:
        """All maps were renewed: a frame was computed in full, or a round of the rolling refresh is complete."""
        self._partial_cost_since_refresh = 0.0

    def record_check(self, ms: float) -> None:
        """A frame that was computed in part was computed in full, too."""
        self.total += ms / self.costs.dense

    def record_unchecked_frame(self) -> None:
        """A frame of a pause is computed in full, without change detection."""
        self.pause_left -= 1
        self.total += 1.0

    def record_frame(self, kind: DecisionKind, features: FeatureCache | None) -> None:
        """Record what a frame has cost, after its heads have run. features: None if its feature cache is not filled."""
        costs = self.costs
        share = costs.detect / costs.dense if self.detected else 0.0
        if features is not None and kind != "carried":
            share += (features.spent_ms + features.refreshed_ms) / costs.dense
            if kind == "partial":
                share = self._record_partial(share, features)
            if kind in ("partial", "dense"):
                self._partial.record(share)
        elif kind == "dense":
            share += 1.0
            self._partial.end_run()
        self.total += share
        if self.detected:
            self.pause_left = self._detection.record(share, dense=kind == "dense" and features is None)

    def _record_partial(self, share: float, features: FeatureCache) -> float:
        share += self.costs.plan / self.costs.dense
        self._expensive = share >= _CHEAP
        if not features.exact:
            self._partial_cost_since_refresh += 1.0 if share < _CHEAP else share
        if self._predicted_ms:
            ratio = features.spent_ms / self._predicted_ms
            self._ratio = max(ratio, self._ratio + _RATIO_RATE * (ratio - self._ratio))
        return share
