"""What the cameras of one process share: the engine with the model's graphs, the sinks with the outbox, the clock.

Not here: the pipelines themselves (cameras.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.device import device_id
from edge_app.inference.scheduler import Scheduler
from edge_app.inference.shared_engine import EngineShare, SharedEngines
from edge_app.publish.transport import Handover
from edge_app.publish.upstream import Upstream
from edge_app.state import StateBoard

_RELOAD_DRAIN_S = 0.5


@dataclass(slots=True)
class CameraShare:
    """One camera's part. upstream: the sinks that are open now."""

    engine: EngineShare
    upstream: Callable[[], Upstream]
    board: StateBoard


class Shared:
    """Opens the sinks of a configuration for all its cameras. Raises ConfigError or SinkError."""

    def __init__(self, config: Config, clock: Clock) -> None:
        self._clock = clock
        self._engines = SharedEngines(Scheduler())
        self.boards = {each.camera: StateBoard() for each in config.each}
        self._config = config
        self._upstream = self._open(config, None)

    def share(self, config: Config, notify: Callable[[], None]) -> CameraShare:
        """The part of one camera. notify: called on any thread when its pipeline's `step` has something to do."""
        engine = EngineShare(self._engines, config.priority, notify)
        return CameraShare(engine, lambda: self._upstream, self.boards[config.camera])

    def reopen(self, config: Config) -> None:
        """Switch to the sinks of another configuration; the outbox stays open. Raises as the constructor does: the old
        sinks then work on.
        """
        if _settings(config) == _settings(self._config):
            return
        for each in config.each:
            self.boards.setdefault(each.camera, StateBoard())
        previous = self._upstream.hand_over(_RELOAD_DRAIN_S)  # before the new ones open: both would use the same sinks
        try:
            self._upstream = self._open(config, previous)
        except Exception:  # after any error, the old ones must keep running
            self._upstream = self._open(self._config, previous)
            raise
        self._config = config

    def forget(self, camera: str) -> None:
        """The camera does not exist any more."""
        self.boards.pop(camera, None)

    def close(self, drain_s: float) -> None:
        """Deliver for at most `drain_s`, release the sinks. Call it after the pipelines are closed."""
        self._upstream.close(drain_s)

    def _open(self, config: Config, previous: Handover | None) -> Upstream:
        id_ = device_id(config.device.id, replay=False)
        return Upstream(config, self._clock, id_, durable=True, boards=self.boards, previous=previous)


def _settings(config: Config) -> object:
    """The parts of a configuration that the sinks depend on."""
    cameras = [
        (
            each.camera,
            [(rule.name, rule.type, rule.options.get("labels")) for rule in each.rules],
            {name: head.boxes.labels for name, head in each.heads.items()},
            each.reuse.mode,
            each.snapshots,
            each.manifest,
        )
        for each in config.each
    ]
    return cameras, config.device, config.publish, config.outbox, config.sinks, config.web
