"""How much coarser reuse becomes while less is to be computed than was configured.

Not here: when that is (ladder.py), what the bounds mean (frames.py, change.py, crops.py).
"""

from __future__ import annotations

from dataclasses import replace

from edge_app.config.reuse import ReuseConfig

AGE = 4  # times as old a result may become
TOLERANCE = 2.0  # times as much a spot may change
_SHARE = 1 / 3  # of what a frame may take: a key frame every third, where everything moves


def eased(settings: ReuseConfig, dense_ms: float) -> ReuseConfig:
    """The bounds of age and time, eased. dense_ms: what computing everything takes."""
    most_ms = dense_ms if settings.budget_ms is None else min(settings.budget_ms, dense_ms)
    return replace(settings, max_age_s=AGE * settings.max_age_s, budget_ms=_SHARE * most_ms)
