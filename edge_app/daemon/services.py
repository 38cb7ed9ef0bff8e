"""The camera services of a daemon, opened and closed as the configuration says. Not here: one of them (camera.py)."""

from __future__ import annotations

from collections.abc import Mapping

from edge_app.config import Config
from edge_app.daemon.camera import CameraService, Process
from edge_app.frame import Frame, JsonValue
from edge_app.pipeline import Pipeline
from edge_app.pipeline.sensors import Reading


class Services:
    """by_name: the services, in the order of the configuration."""

    def __init__(self, pipelines: Mapping[str, Pipeline], process: Process) -> None:
        self._process = process
        self.by_name: dict[str, CameraService] = {}
        try:
            for name, each in pipelines.items():
                self.by_name[name] = CameraService(each, process)
        except BaseException:
            self.close()
            raise

    @property
    def first(self) -> CameraService:
        return next(iter(self.by_name.values()))

    def configs(self) -> dict[str, Config]:
        """The configuration of each camera that is in effect."""
        return {name: each.running.config for name, each in self.by_name.items()}

    def update(self, running: Pipeline | None, frame: Frame | None, reading: Reading) -> None:
        """After a step of the main loop. running: the pipeline of the frame."""
        for service in self.by_name.values():
            service.update(frame if service.running is running else None, reading)

    def check(self, reading: Reading, now_s: float) -> None:
        """As of each service."""
        for service in self.by_name.values():
            service.check(reading, now_s)

    def run_commands(self) -> bool:
        """Execute what is due. Returns whether the files were changed, so that they have to be loaded."""
        changed = [service.commands.run() for service in self.by_name.values()]
        return any(changed)

    def with_commands(self, config: Config) -> Config:
        """The configuration with the commands that it does not contradict."""
        if not config.cameras:
            return self.first.commands.over(config)
        known = self.by_name
        each = [known[c.camera].commands.over(c) if c.camera in known else c for c in config.cameras]
        return each[0].replaced(cameras=tuple(each))

    def adopt(self, config: Config, pipelines: Mapping[str, Pipeline]) -> None:
        """The configuration is in effect, with these pipelines."""
        kept = {each.running: each for each in self.by_name.values()}
        self.by_name = {
            name: kept.pop(each) if each in kept else CameraService(each, self._process)
            for name, each in pipelines.items()
        }
        for removed in kept.values():
            removed.close()
        configs = {each.camera: each for each in config.each}
        for name, service in self.by_name.items():
            service.commands.adopt(configs[name])
            service.reconfigured()

    def status(self) -> dict[str, JsonValue]:
        """By name, the fields of the daemon's state about each camera."""
        return {name: {**each.about(), **each.status()} for name, each in self.by_name.items()}

    def close(self) -> None:
        """Safe to call twice."""
        for service in self.by_name.values():
            service.close()
