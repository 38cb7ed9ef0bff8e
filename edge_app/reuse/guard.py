"""The guard: measures on the device what partial frames lose, and propagates changes as far as that requires.

Now and then a partial frame is computed in full too, and its results are compared (result_comparison.py). Frames are
counted, not timed, so a replay repeats all decisions.
Not here: computing a frame both ways (inference/stage.py).
"""

from __future__ import annotations

from edge_app.frame import JsonValue
from edge_app.reuse.propagation import EXACT, FAR, NEAR, Propagation

_LEVELS = (Propagation(0.25, 1.2), Propagation(0.25, 0.8), NEAR, FAR, Propagation(0.8, 0.1), EXACT)
_FIRST_CHECK, _CHECK_EVERY = 24, 96  # partial frames: the interval doubles from the first to the second
_MEMORY = 32  # checks: older ones fade
_CHANCE = 1.0  # differing objects more or less than allowed that may be chance
# Results in part and in full also differ in objects near the threshold, which noise alone changes from frame to frame.
_NOISE_FACTOR = 2.0  # times the allowed loss; on a street, they differed 1.2 to 4.6 times as much as F1 lost
_PAUSE = 2048  # changed frames without partial ones, if even exact propagation loses too much
_MOST_PATIENCE = 8


class AgreementGuard:
    """Chooses the propagation of one model on one camera.

    max_loss: the share of objects that may differ on average, 0..1, as 1 - F1. propagation: to start with; levels that
    propagate less are not used if it was tuned.
    """

    def __init__(self, max_loss: float, propagation: Propagation) -> None:
        self._max_loss = max_loss
        tuned = propagation not in _LEVELS
        tighter = (level for level in _LEVELS if level.tolerance < propagation.tolerance)
        self._levels = [propagation, *tighter] if tuned else list(_LEVELS)
        self._level = self._levels.index(propagation)
        self._interval, self._frames = _FIRST_CHECK, 0
        self._checks = 0
        self._objects = self._differing = 0.0  # compared at this level; older ones fade
        self._total = self._total_differing = 0.0  # the same at all levels
        self._patience = 1.0  # times the evidence that is needed to propagate less
        self._pause = 0

    @property
    def propagation(self) -> Propagation:
        """How far to propagate changes now."""
        return self._levels[self._level]

    def allows(self) -> bool:
        """Whether frames may be computed in part. Called once for each frame with changed blocks."""
        self._pause -= self._pause > 0
        return not self._pause

    def due(self) -> bool:
        """Whether this partial frame is to be computed in full too. Called once for each partial frame."""
        self._frames += 1
        return self._frames >= self._interval

    def record(self, differing: int, objects: int) -> None:
        """Record a comparison: the objects of both results, and how many have no counterpart in the other."""
        fade = 1 - 1 / _MEMORY
        self._objects, self._differing = fade * self._objects + objects, fade * self._differing + differing
        self._total, self._total_differing = fade * self._total + objects, fade * self._total_differing + differing
        self._checks += 1
        self._frames, self._interval = 0, min(2 * self._interval, _CHECK_EVERY)
        allowed = self._max_loss * self._objects
        if self._differing > _NOISE_FACTOR * allowed + _CHANCE:
            self._tighten()
        elif self._level and self._differing + _CHANCE * self._patience <= allowed:
            self._begin_level(self._level - 1)

    def stats(self) -> dict[str, JsonValue]:
        """For the heartbeat: checks so far; objects compared in the latest ones, and the share that differed."""
        loss = round(self._total_differing / self._total, 4) if self._total else None
        share, tolerance = self.propagation.share, self.propagation.tolerance
        return {
            "checks": self._checks, "objects": round(self._total), "loss": loss, "max_loss": self._max_loss,
            "share": share, "tolerance": tolerance, "paused": self._pause > 0,
        }  # fmt: skip

    def _tighten(self) -> None:
        if self._level + 1 == len(self._levels):
            self._pause = _PAUSE
            self._begin_level(self._level)
        else:
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            self._begin_level(self._level + 1)
            self._interval = _FIRST_CHECK

    def _begin_level(self, level: int) -> None:
        self._level = level
        self._objects = self._differing = 0.0
