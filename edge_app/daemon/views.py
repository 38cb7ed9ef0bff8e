"""The web page and the event snapshots of a running daemon, if they are configured."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from edge_app.config import Config
from edge_app.daemon.snapshots import Snapshots
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline import Pipeline
from edge_app.totals import store
from edge_app.totals.store import FILE

if TYPE_CHECKING:
    from edge_app.web.data import Hours
    from edge_app.web.server import PageServer


class Views:
    """Opens page and snapshots, and reopens them after a reload. Raises ConfigError if the page cannot be served.

    status: the daemon's state; the page's thread calls it.
    """

    def __init__(self, pipeline: Pipeline, status: Callable[[], Mapping[str, JsonValue]]) -> None:
        self._pipeline = pipeline
        self._status = status
        self._page: PageServer | None = None
        self._snapshots: Snapshots | None = None
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def show(self, frame: Frame) -> None:
        """Hand a processed frame to the page and to the snapshots."""
        if self._snapshots is not None:
            self._snapshots.submit(frame, frame.events)
        if self._page is not None:
            self._page.submit(frame, self._pipeline.overlay)

    def reopen(self, old: Config) -> None:
        """Reopen page and snapshots if their configuration differs from `old`; else viewers stay connected.

        Raises ConfigError if the page cannot be served.
        """
        if _settings(old) != _settings(self._pipeline.config):
            self.close()
            self._open()

    def close(self) -> None:
        """Safe to call twice."""
        page, snapshots, self._page, self._snapshots = self._page, self._snapshots, None, None
        if page is not None:
            page.close()
        if snapshots is not None:
            snapshots.close()

    def _open(self) -> None:
        config = self._pipeline.config
        if config.snapshots.enabled:
            self._snapshots = Snapshots(config.device.state_dir / "snapshots", config.snapshots)
        if config.web.enabled:
            from edge_app.web.data import PageData
            from edge_app.web.server import PageServer

            snapshots = self._snapshots
            data = PageData(
                labels={name: head.labels for name, head in config.manifest.heads.items()},
                status=self._status,
                events=lambda: list(self._pipeline.recent_events),
                snapshot_ids=snapshots.event_ids if snapshots else frozenset,
                snapshot=snapshots.read if snapshots else lambda _: None,
                snapshot_what=config.snapshots.what,
                hours=partial(self._hours, config),
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
    """The parts of the configuration that page and snapshots depend on."""
    return config.web, config.snapshots, config.device, config.manifest
