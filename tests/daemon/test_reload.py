"""A reload survives every edit of the configuration, and reports why the old one stays in effect."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from edge_app import config, daemon, pipeline
from edge_app.daemon.systemd import Notifier
from edge_app.pipeline.sensors import Reading
from tests import plugins

SOURCE = "{type: synthetic, width: 320, height: 240, fps: 20, live: true}"
TEXT = f"""
device: {{id: cam, state_dir: state}}
source: {SOURCE}
model: {{path: PROJECT/models/digits}}
heads: {{scene: {{}}}}
publish: {{results: none, status_every_s: 0}}
sinks: [{{type: jsonl, path: out.jsonl}}]
"""
CANARY = "c4nary"
SOURCES = [
    "{type: rtsp, url: 'rtsp://127.0.0.1:99999/x'}",
    "{type: rtsp, url: 'rtsp://u:c4nary@[::1/x'}",
    "{type: rtsp, url: 'rtsp://u:c4nary@a..b/x'}",
    '{type: rtsp, url: "rtsp://127.0.0.1/\\0"}',
    '{type: rtsp, url: "rtsp://u:c4nary@127.0.0.1/\\ud800"}',
    f"{{type: rtsp, url: 'rtsp://127.0.0.1:{'9' * 5000}/x'}}",
    f"{{type: rtsp, url: 'rtsp://{'a' * 64}/x'}}",
    "{type: rtsp, url: 'rtsp://u:c4nary#@127.0.0.1/x'}",
    "{type: rtsp, url: 'rtsp://${EDGE_CANARY}@127.0.0.1:1/x'}",
    f"{{type: rtsp, url: 'rtsp://127.0.0.1/x', credentials: {'x' * 300}}}",
    '{type: rtsp, url: "rtsp://127.0.0.1/x", credentials: "a\\0b"}',
    "{type: rtsp, url: 'rtsp://u@127.0.0.1/x', password: 'file:none'}",
    f"{{type: video, path: {'x' * 300}}}",
    '{type: video, path: "\\ud800"}',
    f"{{type: images, path: {'a/' * 3000}}}",
    f"{{type: synthetic, width: {'9' * 5000}}}",
    "{type: synthetic, fps: 1e999}",
    "{type: raises, word: c4nary}",
    '"\\UFFFFFFFF"',
]


class NoSensors:
    def read(self) -> Reading:
        return Reading()


@pytest.fixture
def subject(config_file, tmp_path, monkeypatch):
    (tmp_path / "fault").write_text("build")
    monkeypatch.setenv("MISCHIEF", str(tmp_path / "fault"))
    monkeypatch.setenv("EDGE_CANARY", f"{CANARY}\x1b")
    plugins.install()
    path = config_file(TEXT)
    subject = daemon.Daemon(lambda: config.load(path), pipeline.build(config.load(path)), Notifier({}), NoSensors())
    yield subject
    subject.close()


def frames_of(subject: daemon.Daemon, count: int) -> int:
    found = 0
    for _ in range(200):
        found += subject.step() is not None
        if found == count:
            break
    return found


def test_hostile_edits_are_rejected_in_one_line_each_and_the_old_configuration_stays(subject, caplog):
    path: Path = subject.running.config.path
    original = path.read_text(encoding="utf-8")
    assert frames_of(subject, 2) == 2
    for source in SOURCES:
        caplog.clear()
        path.write_text(original.replace(SOURCE, source), encoding="utf-8")
        with caplog.at_level(logging.ERROR):
            subject.reload()
        error = subject.status()["reload_error"]
        assert error, source
        assert all(line.isprintable() for line in str(error).splitlines()), error
        assert str(error).startswith(str(path)), error
        assert [record.getMessage() for record in caplog.records] == [
            f"new configuration rejected, the old one stays in effect: {error}"
        ]
        assert CANARY not in str(error)
        assert frames_of(subject, 1) == 1, source
    path.write_text(original, encoding="utf-8")
    subject.reload()
    status = subject.status()
    assert (status["reload_error"], status["rejected_reloads"]) == (None, len(SOURCES))


@pytest.mark.parametrize(
    "error", [ValueError(CANARY), RecursionError(), MemoryError(), OverflowError(), UnicodeError()]
)
def test_any_exception_of_a_reload_keeps_the_old_configuration(config_file, error):
    path = config_file(TEXT)
    loaded = config.load(path)

    def load():
        raise error

    subject = daemon.Daemon(load, pipeline.build(loaded), Notifier({}), NoSensors())
    try:
        subject.reload()
        assert str(subject.status()["reload_error"]).startswith(type(error).__name__)
        assert CANARY not in str(subject.status())
        assert frames_of(subject, 1) == 1
    finally:
        subject.close()
