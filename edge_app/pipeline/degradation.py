"""Do less before something fails: from full speed down to a mere heartbeat, one rung at a time, and up again slowly.

Not here: where readings come from (sensors.py), how a rung is put into effect (pipeline.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edge_app.config.services import DegradeConfig
from edge_app.pipeline.sensors import Reading

_MARGIN_C = 5.0  # this far below the limit it is cool again
_ROOM = 1.5  # times the least memory that must be left
_BRISK = 0.5  # of the latency limit
_LONGEST_CLIMB_S = 3600.0


@dataclass(frozen=True, slots=True)
class Rung:
    """How much is done: every which frame (0: none), with how much reuse, without which heads.

    ease_reuse: more is reused than was configured (reuse/ease.py).
    """

    name: str
    every: int = 1
    without: frozenset[str] = frozenset()
    ease_reuse: bool = False


FULL = Rung("full")


def rungs(priorities: Mapping[str, int], *, reuses: bool) -> tuple[Rung, ...]:
    """The way down: half and a quarter of the frames, more reuse, fewer heads, heartbeat only.

    priorities: of the heads, by name. The one of least priority goes first, of equals the later one; the last head
    stays until the heartbeat. reuses: whether anything is reused at all. Where nothing is, that rung is left out: who
    has every frame computed does not get results that stand for an earlier one.
    """
    names = list(priorities)
    order = sorted(names, key=lambda name: (priorities[name], -names.index(name)))
    way = [FULL, Rung("half rate", 2), Rung("quarter rate", 4)]
    if reuses:
        way.append(Rung("reuse more", 4, ease_reuse=True))
    for count in range(1, len(order)):
        way.append(Rung(f"without {', '.join(order[:count])}", 4, frozenset(order[:count]), reuses))
    return (*way, Rung("heartbeat only", 0, frozenset(order), reuses))


class Ladder:
    """Where on the way down we are. Times are monotonic seconds."""

    def __init__(self, way: tuple[Rung, ...], settings: DegradeConfig) -> None:
        self._way = way
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
        return self._way[self._at]

    def update(self, reading: Reading, latency_s: float | None, now_s: float) -> bool:
        """Look at how things stand. Returns whether that meant a step; `rung` and `reason` then tell of it."""
        over = _over(self._settings, reading, latency_s)
        clear = not over and _clear(self._settings, reading, latency_s)
        self._over_since_s = _since(self._over_since_s, bool(over), now_s)
        self._clear_since_s = _since(self._clear_since_s, clear, now_s)
        if self._lasts(self._over_since_s, self._settings.step_s, now_s) and self._at < len(self._way) - 1:
            if self._climbed_s is not None and now_s - self._climbed_s < 2 * self._climb_s:
                self._climb_s = min(2 * self._climb_s, _LONGEST_CLIMB_S)  # it was too early: no to and fro
            self._at, self.reason = self._at + 1, over
            self._moved_s, self._climbed_s = now_s, None
            return True
        if self._lasts(self._clear_since_s, self._climb_s, now_s) and self._at > 0:
            self._at, self.reason = self._at - 1, "recovered"
            self._moved_s = self._climbed_s = now_s
            return True
        return False

    def _lasts(self, since_s: float | None, for_s: float, now_s: float) -> bool:
        """Whether something has lasted for so long, counted anew from the last step."""
        return since_s is not None and now_s - max(since_s, self._moved_s) >= for_s


def _since(since_s: float | None, holds: bool, now_s: float) -> float | None:
    return None if not holds else now_s if since_s is None else since_s


def _over(limit: DegradeConfig, reading: Reading, latency_s: float | None) -> str:
    """What is beyond its limit, in words; nothing where all is well."""
    found = []
    if reading.temperature_c is not None and reading.temperature_c > limit.temperature_c:
        found.append(f"{reading.temperature_c:.0f} °C, limit {limit.temperature_c:g}")
    if reading.available_mb is not None and reading.available_mb < limit.available_mb:
        found.append(f"{reading.available_mb:.0f} MB left, limit {limit.available_mb:g}")
    if latency_s is not None and latency_s > limit.latency_s:
        found.append(f"results {latency_s:.1f} s late, limit {limit.latency_s:g}")
    return "; ".join(found)


def _clear(limit: DegradeConfig, reading: Reading, latency_s: float | None) -> bool:
    """Whether all is so well that one rung more will not at once be too much."""
    return (
        (reading.temperature_c is None or reading.temperature_c <= limit.temperature_c - _MARGIN_C)
        and (reading.available_mb is None or reading.available_mb >= limit.available_mb * _ROOM)
        and (latency_s is None or latency_s <= limit.latency_s * _BRISK)
    )
