"""How long to wait before trying again what failed: a camera, an engine, an upstream."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Full jitter, so that a fleet that lost the same thing comes back spread out. In seconds."""

    first_s: float = 1.0
    longest_s: float = 30.0

    def wait_s(self, attempt: int, rng: random.Random) -> float:
        """Between 0 and min(longest_s, first_s * 2 ** attempt). attempt: failures in a row before this one."""
        return rng.uniform(0.0, min(self.longest_s, self.first_s * 2.0 ** min(attempt, 32)))


UPSTREAM = Backoff(longest_s=300.0)  # a broker that is away has many to serve when it is back
