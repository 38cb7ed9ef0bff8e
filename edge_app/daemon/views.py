"""The web page, the event snapshots and the event clips of a running daemon, if they are configured."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from edge_app.clips.recorder import Clips
from edge_app.config import Config
from edge_app.daemon.snapshots import Snapshots
from edge_app.frame import Event, Frame, JsonValue
from edge_app.pipeline import Pipeline
from edge_app.pipeline.health import metrics_fields
from edge_app.totals import store
from edge_app.totals.store import FILE

if TYPE_CHECKING:
    from edge_app.web.commands import PageCommands
    from edge_app.web.data import Hours
    from edge_app.web.server import PageServer


class Views:
    """Opens page, snapshots and clips; reopens them after a reload. Raises ConfigError if the page cannot be served.

    status: the daemon's state; the page's thread calls it. commands: what the page may change.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        status: Callable[[], Mapping[str, JsonValue]],
        commands: PageCommands | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._commands = commands
        self._requested: list[Event] = []
        self._status = status
        self._page: PageServer | None = None
        self._snapshots: Snapshots | None = None
        self._clips: Clips | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def show(self, frame: Frame) -> None:
        """Hand a processed frame to the page, the snapshots and the clips."""
        if self._clips is not None:
            self._clips.submit(frame, frame.events)
        if self._snapshots is not None:
            self._snapshots.submit(frame, (*frame.events, *self._requested))
            self._requested.clear()
        if self._page is not None:
            self._page.submit(frame, self._pipeline.overlay)

    def request_snapshot(self, event: Event) -> None:
        """Store the next frame as the image of an event, if there are snapshots."""
        self._requested.append(event)

    def report(self) -> None:
        """Publish a status message for each clip that was written since the last call."""
        if self._clips is not None:
            for clip in self._clips.reports():
                self._pipeline.publish_status({"clip": clip})

    def status(self) -> dict[str, JsonValue]:
        """The fields of the daemon's state about the clips; {} without them."""
        return {} if self._clips is None else {"clips": self._clips.status()}

    def reopen(self, old: Config) -> None:
        """Reopen page, snapshots and clips if their configuration differs from `old`; else viewers stay connected.

        Raises ConfigError if the page cannot be served.
        """
        if _settings(old) != _settings(self._pipeline.config):
            self.close()
            self._open()

    def close(self) -> None:
        """Safe to call twice."""
        self.report()
        page, snapshots, clips = self._page, self._snapshots, self._clips
        self._page = self._snapshots = self._clips = None
        if page is not None:
            page.close()
        if snapshots is not None:
            snapshots.close()
        if clips is not None:
            clips.close()

    def _open(self) -> None:
        config = self._pipeline.config
        if config.snapshots.enabled:
            self._snapshots = Snapshots(config.device.state_dir / "snapshots", config.snapshots)
        if config.clips.enabled:
            self._clips = Clips(config.device.state_dir / "clips", config.clips)
        if config.web.enabled:
            from edge_app.web.data import PageData
            from edge_app.web.server import PageServer

            snapshots, clips = self._snapshots, self._clips
            data = PageData(
                labels={name: head.labels for name, head in config.manifest.heads.items()},
                status=self._status,
                commands=self._commands,
                events=lambda: list(self._pipeline.recent_events),
                snapshot_ids=snapshots.event_ids if snapshots else frozenset,
                snapshot=snapshots.read if snapshots else lambda _: None,
                snapshot_what=config.snapshots.what,
                hours=partial(self._hours, config),
                clip_names=clips.names if clips else dict,
                counts=lambda: metrics_fields(self._pipeline.stats()),
                clip=clips.path if clips else lambda _: None,
            )
            self._page = PageServer(config.web, data)

    @staticmethod
    def _hours(config: Config) -> Hours:
        """The totals of the finished hours. The thread of the page calls it. Raises OSError if they cannot be read."""
        path = config.device.state_dir / FILE
        if not path.exists():
            return ()
        try:
            counts = store.read(path, "hour")
        except sqlite3.Error as exc:
            raise OSError(f"{path}: {exc}") from exc
        camera = config.source.common.name
        return [(bucket.rule, bucket.name, bucket.start, n) for bucket, n in counts if bucket.camera == camera]


def _settings(config: Config) -> object:
    """The parts of the configuration that page, snapshots and clips depend on."""
    return config.web, config.snapshots, config.clips, config.device, config.manifest
