"""The web page of a running daemon, if it is configured. Not here: the page itself (web/)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from edge_app.config import Config
from edge_app.daemon.camera import CameraService
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline import Pipeline
from edge_app.pipeline.health import metrics_fields
from edge_app.totals import store
from edge_app.totals.store import FILE

if TYPE_CHECKING:
    from edge_app.web.data import Hours, PageData
    from edge_app.web.server import PageServer


class Views:
    """Opens the page, and reopens it after a reload. Raises ConfigError if it cannot be served.

    services: of the cameras. status: the daemon's state; the page's thread calls it.
    """

    def __init__(self, services: Mapping[str, CameraService], status: Callable[[], Mapping[str, JsonValue]]) -> None:
        self._services, self._status = services, status
        self._page: PageServer | None = None
        self._open()

    def show(self, running: Pipeline, frame: Frame) -> None:
        """Hand a processed frame to the page."""
        if self._page is not None:
            self._page.submit(frame, running.overlay)

    def reopen(self, old: Mapping[str, Config], services: Mapping[str, CameraService]) -> None:
        """Reopen the page if the configuration differs from `old`; else viewers stay connected.

        old: by camera. Raises ConfigError if the page cannot be served.
        """
        self._services = services
        now = {name: service.running.config for name, service in services.items()}
        if {name: _settings(each) for name, each in old.items()} != {n: _settings(each) for n, each in now.items()}:
            self.close()
            self._open()

    def close(self) -> None:
        """Safe to call twice."""
        page, self._page = self._page, None
        if page is not None:
            page.close()

    def _open(self) -> None:
        web = next(iter(self._services.values())).running.config.web
        if web.enabled:
            from edge_app.web.server import PageServer

            first, *others = (self._data(name, each) for name, each in self._services.items())
            self._page = PageServer(web, first, others)

    def _data(self, name: str, service: CameraService) -> PageData:
        """What the page shows of a camera."""
        from edge_app.web.data import PageData

        pipeline, config = service.running, service.running.config
        snapshots, clips = service.recordings.snapshots, service.recordings.clips
        return PageData(
            labels={name: head.labels for name, head in config.manifest.heads.items()},
            status=self._status if len(self._services) == 1 else partial(self._status_of, name),
            commands=service.commands,
            events=lambda: list(pipeline.recent_events),
            snapshot_ids=snapshots.event_ids if snapshots else frozenset,
            snapshot=snapshots.read if snapshots else lambda _: None,
            snapshot_what=config.snapshots.what,
            hours=partial(self._hours, config),
            clip_names=clips.names if clips else dict,
            counts=self._counts,
            clip=clips.path if clips else lambda _: None,
            camera=name,
        )

    def _status_of(self, camera: str) -> Mapping[str, JsonValue]:
        """The status, with the fields of this camera in front, and those of all in `cameras`."""
        status = self._status()
        cameras = status["cameras"]
        own = cameras.get(camera) if isinstance(cameras, Mapping) else None
        return {**status, **own} if isinstance(own, Mapping) else status

    def _counts(self) -> Mapping[str, JsonValue]:
        """What metrics show beyond the status; of several cameras, in `cameras`."""
        found = {name: metrics_fields(each.running.stats()) for name, each in self._services.items()}
        return {"cameras": found} if len(found) > 1 else next(iter(found.values()))

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
        camera = config.camera
        return [(bucket.rule, bucket.name, bucket.start, n) for bucket, n in counts if bucket.camera == camera]


def _settings(config: Config) -> object:
    """The parts of the configuration that the page depends on."""
    return config.web, config.snapshots, config.clips, config.device, config.manifest
