"""A daemon with several cameras: commands and status of each, a reload, snapshots in folders of their own."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edge_app import config, daemon, pipeline
from edge_app.daemon.systemd import Notifier
from edge_app.errors import ConfigError
from edge_app.pipeline.sensors import Reading

SOURCE = "{type: synthetic, width: 320, height: 240, fps: 20, live: true}"
CAMERA = "  - {name: NAME, source: SOURCE}\n".replace("SOURCE", SOURCE)
TEXT = """
device: {id: box, state_dir: state}
cameras:
CAMERAS
model: {path: PROJECT/models/digits, backend: onnx}
heads: {scene: {}}
rules: [{name: still, type: scene, head: scene}]
snapshots: {enabled: true}
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
"""


class NoSensors:
    def read(self) -> Reading:
        return Reading()


class Box:
    """A daemon on one thread."""

    def __init__(self, write: Callable[[str], Path], *cameras: str) -> None:
        self._write = write
        self.path = self.configure(*cameras)
        running = pipeline.build_cameras(config.load(self.path))
        self.daemon = daemon.Daemon(lambda: config.load(self.path), running, Notifier({}), NoSensors())

    def configure(self, *cameras: str) -> Path:
        listed = "".join(CAMERA.replace("NAME", name) for name in cameras)
        return self._write(TEXT.replace("CAMERAS", listed))

    def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, "did not happen in time"
            self.daemon.step()

    def command(self, camera: str, name: str, payload: bytes) -> dict[str, Any]:
        """The answer to a command that a sink has received."""
        answers: list[dict[str, Any]] = []
        board = self.daemon._services.by_name[camera].running.board
        board.submit(name, payload, lambda fields, status: answers.append({**fields, "status": status}))
        self.until(lambda: bool(answers))
        return answers[0]

    def cameras(self) -> dict[str, Any]:
        return dict(self.daemon.status()["cameras"])  # type: ignore[arg-type]


@pytest.fixture
def box(config_file, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    opened = Box(config_file, "front", "yard")
    yield opened
    opened.daemon.close()


def test_the_status_has_each_camera_and_in_front_the_first(box):
    box.until(lambda: all(each["frames"] > 2 for each in box.cameras().values()))
    status = box.daemon.status()
    assert list(box.cameras()) == ["front", "yard"]
    assert box.cameras()["yard"]["source"]["state"] == "running"
    assert status["rules"] == box.cameras()["front"]["rules"]


def test_a_command_changes_its_camera_alone_and_is_not_stored(box):
    assert box.command("yard", "rules/still", b"OFF")["ok"]
    assert [each["rules"]["still"] for each in box.cameras().values()] == [True, False]
    answer = box.command("yard", "rules/still", b'{"value": "ON", "persist": true}')
    assert (answer["ok"], answer["status"]) == (False, 409)
    assert answer["error"] == "rules/still: found persist with several cameras; expected an edit of the file"


def test_the_page_cannot_change_the_file(box):
    with pytest.raises(ConfigError, match="has several cameras"):
        box.daemon._services.first.commands.view()


def test_a_snapshot_is_in_the_folder_of_its_camera(box, tmp_path):
    for camera in ("front", "yard"):
        assert box.command(camera, "snapshot", b"")["ok"]
    folder = tmp_path / "state/snapshots"
    box.until(lambda: any(folder.glob("*.jpg")) and any(folder.glob("yard/yard-*.jpg")))


def test_a_reload_adds_and_removes_cameras_and_keeps_the_commands_of_the_others(box):
    box.command("front", "rules/still", b"OFF")
    box.configure("front", "gate")
    box.daemon.reload()
    box.until(lambda: box.cameras()["gate"]["frames"] > 2)
    assert list(box.cameras()) == ["front", "gate"]
    assert box.cameras()["front"]["rules"]["still"] is False
    assert box.command("gate", "rules/still", b"OFF")["ok"]


def test_a_wrong_configuration_changes_nothing(box):
    box.configure("front", "front")
    box.daemon.reload()
    assert "second camera 'front'" in str(box.daemon.status()["reload_error"])
    assert list(box.cameras()) == ["front", "yard"]


def test_one_camera_instead_of_several_needs_a_new_process(box):
    box.configure("front")
    box.daemon.reload()
    assert box.daemon.restarts == "commanded"
