"""The event snapshots and event clips of one camera, if they are configured."""

from __future__ import annotations

from edge_app.clips.recorder import Clips
from edge_app.config import Config
from edge_app.daemon.snapshots import Snapshots
from edge_app.frame import Event, Frame, JsonValue
from edge_app.pipeline import Pipeline


class Recordings:
    """snapshots, clips: None if they are off."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._requested: list[Event] = []
        self.snapshots: Snapshots | None = None
        self.clips: Clips | None = None
        self._open()

    def submit(self, frame: Frame) -> None:
        """Take a processed frame."""
        if self.clips is not None:
            self.clips.submit(frame, frame.events)
        if self.snapshots is not None:
            self.snapshots.submit(frame, (*frame.events, *self._requested))
            self._requested.clear()

    def request_snapshot(self, event: Event) -> None:
        """Store the next frame as the image of an event, if there are snapshots."""
        self._requested.append(event)

    def report(self) -> None:
        """Publish a status message for each clip that was written since the last call."""
        if self.clips is not None:
            for clip in self.clips.reports():
                self._pipeline.publish_status({"clip": clip})

    def status(self) -> dict[str, JsonValue]:
        """The fields of the daemon's state about the clips; {} without them."""
        return {} if self.clips is None else {"clips": self.clips.status()}

    def reopen(self, old: Config) -> None:
        """Open them again if their configuration differs from `old`."""
        if _settings(old) != _settings(self._pipeline.config):
            self.close()
            self._open()

    def close(self) -> None:
        """Safe to call twice."""
        self.report()
        snapshots, clips = self.snapshots, self.clips
        self.snapshots = self.clips = None
        if snapshots is not None:
            snapshots.close()
        if clips is not None:
            clips.close()

    def _open(self) -> None:
        config = self._pipeline.config
        if config.snapshots.enabled:
            self.snapshots = Snapshots(config.folder("snapshots"), config.snapshots)
        if config.clips.enabled:
            self.clips = Clips(config.folder("clips"), config.clips)


def _settings(config: Config) -> object:
    """The parts of the configuration that snapshots and clips depend on."""
    return config.snapshots, config.clips, config.device, config.scope
