"""The bounds that reuse must keep: as configured, or relaxed while the device is overloaded.

Not here: when to relax (pipeline/degradation.py).
"""

from __future__ import annotations

from dataclasses import replace

from edge_app.config.reuse import ReuseConfig
from edge_app.reuse.budget import TimeBudget

AGE_FACTOR = 4  # a result may become this many times as old
TOLERANCE_FACTOR = 2.0  # a pixel may change by this many times the tolerance
_BUDGET_SHARE = 1 / 3  # of a frame's time: if everything moves, every third frame is computed


def relaxed(settings: ReuseConfig, dense_ms: float) -> ReuseConfig:
    """The settings with relaxed bounds of age and time. dense_ms: the time of a dense frame."""
    frame_ms = dense_ms if settings.budget_ms is None else min(settings.budget_ms, dense_ms)
    return replace(settings, max_age_s=AGE_FACTOR * settings.max_age_s, budget_ms=_BUDGET_SHARE * frame_ms)


class Bounds:
    """The bounds in effect.

    requested: whether to relax from the next frame on; any thread may set it. relaxed: whether relaxed bounds are in
    effect. max_age_ns: nothing that a result depends on is older. budget: None if inference time is not limited.
    """

    def __init__(self, settings: ReuseConfig, dense_ms: float) -> None:
        self._settings = settings
        self.requested = False
        self.apply(dense_ms)

    def apply(self, dense_ms: float) -> None:
        """Put the requested bounds into effect. dense_ms: the time of a dense frame."""
        self.relaxed = self.requested
        bounds = relaxed(self._settings, dense_ms) if self.relaxed else self._settings
        self.max_age_ns = round(bounds.max_age_s * 1e9)
        self.budget = None if bounds.budget_ms is None else TimeBudget(bounds.budget_ms)

    @property
    def tolerance_factor(self) -> float:
        """Multiplies the tolerance of change detection."""
        return TOLERANCE_FACTOR if self.relaxed else 1.0

    def afford(self, cost_ms: float) -> bool:
        """Spend inference time from the budget. Returns False if there is none left."""
        return self.budget is None or self.budget.spend(cost_ms)
