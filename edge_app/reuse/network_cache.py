"""The network and its last outputs: computed in full, in part, or kept from an earlier frame.

Not here: which of these a frame gets (planner.py), the cached maps themselves (feature_cache.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edge_app.backends import Array
from edge_app.reuse.dirty_rects import Box
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.refresh import RollingRefresh

OutputsOf = Callable[[str], Mapping[str, Array] | None]


class NetworkCache:
    """Runs the network, and knows what its current outputs depend on.

    outputs_of: returns a head's outputs, by head name; None if there are none. filled: the feature cache holds the maps
    of the current outputs, so that the next frame may be computed in part. since_ns: when the oldest part of the
    outputs was computed. engine_ns: CPU time of all runs.
    """

    def __init__(
        self, dense: Callable[[Array], OutputsOf], features: FeatureCache | None, rolling: RollingRefresh
    ) -> None:
        self.run_unrecorded = dense  # for measuring: the outputs are not kept
        self.features = features
        self.rolling = rolling
        self.outputs_of: OutputsOf | None = None
        self.filled = False
        self.since_ns = 0
        self.engine_ns = 0

    def run_dense(self, tensor: Array, now_ns: int, *, timed: bool = True) -> OutputsOf:
        """Run the whole network as one graph. The feature cache becomes invalid. timed: add the run to engine_ns."""
        self.invalidate()  # first: the engine's outputs are released before the next run
        run = self.run_unrecorded
        outputs_of: OutputsOf = self._timed(run, tensor) if timed else run(tensor)
        self._completed(outputs_of, now_ns)
        return outputs_of

    def fill(self, tensor: Array, now_ns: int) -> OutputsOf:
        """Run all segments of the network, and store their maps in the feature cache."""
        assert self.features is not None
        self.invalidate()
        self._timed(self.features.fill, tensor)
        self._completed(self.features.changed_outputs_of, now_ns)
        self.filled = True
        return self.features.changed_outputs_of

    def update(self, tensor: Array, boxes: Sequence[Box]) -> None:
        """Recompute the cached maps where the image changed. boxes: input pixels."""
        assert self.features is not None
        self._timed(self.features.update, tensor, boxes)

    def refresh(self, tensor: Array, now_ns: int, earned_ms: float, *, changed: bool) -> Sequence[Box]:
        """Compute the tiles of the rolling refresh that are due, as RollingRefresh.advance."""
        features = self.features
        assert features is not None
        features.refreshed_ms = 0.0
        if not changed:
            features.spent_ms = 0.0
        if not self.rolling.active(now_ns, self.since_ns, earns=earned_ms > 0):
            return ()
        features.set_image(tensor)
        tiles: Sequence[Box] = self._timed(self.rolling.advance, now_ns, self.since_ns, earned_ms, changed)
        if self.rolling.complete:
            self.since_ns = self.rolling.started_ns
            features.mark_renewed()
        return tiles

    def expired(self, now_ns: int, max_age_ns: int) -> bool:
        """Whether the outputs are too old, or from the future: the clock went back."""
        return not 0 <= now_ns - self.since_ns <= max_age_ns

    def invalidate(self) -> None:
        """Drop all outputs: the next frame is computed."""
        self.outputs_of, self.filled = None, False

    def release_outputs(self) -> None:
        """Free the outputs of a dense run, which no head needs any longer. They still count as available.

        Kept until the next frame, they would make the engine use other, colder memory, at 1 to 3 % of a dense frame.
        """
        self.outputs_of = _released

    @property
    def released(self) -> bool:
        """Whether outputs are available, but were freed."""
        return self.outputs_of is _released

    def _completed(self, outputs_of: OutputsOf, now_ns: int) -> None:
        self.outputs_of, self.since_ns = outputs_of, now_ns
        self.rolling.restart()

    def _timed(self, call: Callable[..., Any], *arguments: Any) -> Any:
        start = time.thread_time_ns()
        result = call(*arguments)
        self.engine_ns += time.thread_time_ns() - start
        return result


def _released(_: str) -> None:
    """The outputs were freed; the results of all heads are up to date."""
