"""The wait before the next attempt after a failure of a camera, an inference engine or a server."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential backoff with full jitter, so that a fleet does not reconnect all at once. In seconds."""

    first_s: float = 1.0
    longest_s: float = 30.0

    def wait_s(self, attempt: int, rng: random.Random) -> float:
        """A random wait between 0 and min(longest_s, first_s * 2 ** attempt). attempt: consecutive failures before."""
        return rng.uniform(0.0, min(self.longest_s, self.first_s * 2.0 ** min(attempt, 32)))


UPSTREAM = Backoff(longest_s=300.0)  # longer: a broker that restarts has a whole fleet to serve
