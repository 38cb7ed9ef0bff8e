"""The degradation ladder: under load, do less in steps, from the full frame rate down to heartbeats only.

Each rung is a level of work. The pipeline moves down one rung at a time, and moves up more slowly.
Not here: readings (sensors.py), leaving out heads (inference/).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_app.config.services import DegradeConfig
from edge_app.pipeline.sensors import Reading

# A reading allows moving up if it is better than its limit by this much.
_TEMPERATURE_MARGIN_C = 5.0
_MEMORY_FACTOR = 1.5
_LATENCY_FACTOR = 0.5
_LONGEST_CLIMB_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rung:
    """One level of degradation.

    every: process every n-th frame; 0: none. without: heads that do not run. relax_reuse: reuse more than configured
    (reuse/relaxation.py).
    """

    name: str
    every: int = 1
    without: frozenset[str] = frozenset()
    relax_reuse: bool = False


FULL = Rung("full")


def rungs(priorities: Mapping[str, int], *, reuses: bool) -> tuple[Rung, ...]:
    """The rungs from top to bottom: half and a quarter of the frames, more reuse, fewer heads, heartbeat only.

    priorities: of each head. The head with the lowest priority (if equal, the later one) is disabled first; one head
    runs until the heartbeat-only rung. reuses: whether the model reuses results. If not, no rung relaxes reuse: a user
    who has turned reuse off does not get results of earlier frames.
    """
    names = list(priorities)
    order = sorted(names, key=lambda name: (priorities[name], -names.index(name)))
    ladder = [FULL, Rung("half rate", 2), Rung("quarter rate", 4)]
    if reuses:
        ladder.append(Rung("reuse more", 4, relax_reuse=True))
    for count in range(1, len(order)):
        ladder.append(Rung(f"without {', '.join(order[:count])}", 4, frozenset(order[:count]), reuses))
    return (*ladder, Rung("heartbeat only", 0, frozenset(order), reuses))


class FrameSkipper:
    """Passes the frames that a rung allows, and counts the others."""

    def __init__(self) -> None:
        self.rung = FULL
        self.skipped = 0
        self._offered = 0

    def passes(self) -> bool:
        """Whether to process the next frame."""
        self._offered += 1
        passes = self.rung.every > 0 and self._offered % self.rung.every == 0
        self.skipped += not passes
        return passes


class Ladder:
    """The current rung, and when to move to another. rungs: from top to bottom. Times are monotonic seconds."""

    def __init__(self, rungs: tuple[Rung, ...], settings: DegradeConfig) -> None:
        self._rungs = rungs
        self._settings = settings
        self._at = 0
        self._moved_s = float("-inf")
        self._over_since_s: float | None = None
        self._clear_since_s: float | None = None
        self._climbed_s: float | None = None
        self._climb_s = settings.climb_s
        self.reason = ""

    @property
    def rung(self) -> Rung:
        return self._rungs[self._at]

    def update(self, reading: Reading, latency_s: float | None, now_s: float) -> bool:
        """Evaluate a reading. Returns whether `rung` has changed; `reason` then says why."""
        over = _over_limit(self._settings, reading, latency_s)
        clear = not over and _clear(self._settings, reading, latency_s)
        self._over_since_s = _since(self._over_since_s, bool(over), now_s)
        self._clear_since_s = _since(self._clear_since_s, clear, now_s)
        if self._holds_for(self._over_since_s, self._settings.step_s, now_s) and self._at < len(self._rungs) - 1:
            if self._climbed_s is not None and now_s - self._climbed_s < 2 * self._climb_s:
                self._climb_s = min(2 * self._climb_s, _LONGEST_CLIMB_S)  # moved up too early
            self._at, self.reason = self._at + 1, over
            self._moved_s, self._climbed_s = now_s, None
            return True
        if self._holds_for(self._clear_since_s, self._climb_s, now_s) and self._at > 0:
            self._at, self.reason = self._at - 1, "recovered"
            self._moved_s = self._climbed_s = now_s
            return True
        return False

    def _holds_for(self, since_s: float | None, for_s: float, now_s: float) -> bool:
        """Whether a condition has held for `for_s`, and the last change of rung is at least that long ago."""
        return since_s is not None and now_s - max(since_s, self._moved_s) >= for_s


def _since(since_s: float | None, holds: bool, now_s: float) -> float | None:
    return None if not holds else now_s if since_s is None else since_s


def _over_limit(limit: DegradeConfig, reading: Reading, latency_s: float | None) -> str:
    """The readings that exceed their limit, as text; empty if there are none."""
    exceeded = []
    if reading.temperature_c is not None and reading.temperature_c > limit.temperature_c:
        exceeded.append(f"{reading.temperature_c:.0f} °C, limit {limit.temperature_c:g}")
    if reading.available_mb is not None and reading.available_mb < limit.available_mb:
        exceeded.append(f"{reading.available_mb:.0f} MB left, limit {limit.available_mb:g}")
    if latency_s is not None and latency_s > limit.latency_s:
        exceeded.append(f"results {latency_s:.1f} s late, limit {limit.latency_s:g}")
    return "; ".join(exceeded)


def _clear(limit: DegradeConfig, reading: Reading, latency_s: float | None) -> bool:
    """Whether every reading is far enough from its limit to move up a rung."""
    return (
        (reading.temperature_c is None or reading.temperature_c <= limit.temperature_c - _TEMPERATURE_MARGIN_C)
        and (reading.available_mb is None or reading.available_mb >= limit.available_mb * _MEMORY_FACTOR)
        and (latency_s is None or latency_s <= limit.latency_s * _LATENCY_FACTOR)
    )
