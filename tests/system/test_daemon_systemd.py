"""The daemon under a real systemd: readiness, watchdog, reload, stop. Debian packages: systemd-container."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from tests.running import RUN, unended
from tests.system.container import INSIDE, Container, missing

pytestmark = [pytest.mark.system, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

UNIT = f"""
[Service]
Type=notify
NotifyAccess=main
WatchdogSec=10
Restart=always
RestartSec=0
TimeoutStopSec=10
WorkingDirectory={PROJECT}
Environment=PYTHONPATH={PROJECT} PYTHONDONTWRITEBYTECODE=1 MISCHIEF={INSIDE}/mischief
ExecStart={sys.executable} -c "{RUN}" run -c {INSIDE}/config.yaml
ExecReload=/bin/kill -HUP $MAINPID
"""
CONFIG = """
device: {id: cam, state_dir: state}
source: {type: synthetic, mask: [[[0, 0], [1, 0], [1, 1], [0, 1]]], width: 320, height: 240, fps: 20}
model: {path: PROJECT/models/digits, backend: mischief, deadline_s: 4}
heads: {scene: {}}
rules: [{name: camera, type: scene, head: scene, ok: ok, after_s: 0, min_score: 0}]
publish: {results: none, status_every_s: 1}
sinks:
  - {type: jsonl, path: out.jsonl}
  - {type: mqtt, host: 127.0.0.1, port: 1}
"""


@pytest.fixture(scope="module")
def container(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("systemd")
    shared = folder / "shared"
    shared.mkdir()
    (shared / "config.yaml").write_text(CONFIG.replace("PROJECT", str(PROJECT)), encoding="utf-8")
    (shared / "mischief").write_text("good", encoding="ascii")
    running = Container(folder / "root", shared, {"edge.service": UNIT})
    yield running
    running.close()


def until(true, timeout_s: float) -> float:
    """Wait until a condition is true. Returns the seconds waited."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < timeout_s
        time.sleep(0.2)
    return time.monotonic() - began


def events(shared: Path) -> list[dict]:
    lines = (shared / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return [message for line in lines if (message := json.loads(line))["kind"] == "event"]


def test_ready_watchdog_reload_and_stop(container: Container):
    shared = container.shared
    container.run("systemctl", "start", "edge.service")  # returns after READY=1
    assert container.shown("edge.service", "ActiveState") == "active"
    assert "camera running; mischief" in container.shown("edge.service", "StatusText")
    process = container.shown("edge.service", "MainPID")

    # journald gets native entries.
    entries = container.run("journalctl", "-u", "edge.service", "-o", "json").splitlines()
    loggers = {entry.get("LOGGER") for entry in map(json.loads, entries)}
    assert "edge_app.daemon.loop" in loggers

    # A good configuration is applied without a restart, a bad one is rejected.
    config = (shared / "config.yaml").read_text(encoding="utf-8")
    (shared / "config.yaml").write_text(config.replace("fps: 20", "fps: 25"), encoding="utf-8")
    container.run("systemctl", "reload", "edge.service")
    log = lambda: container.run("journalctl", "-u", "edge.service", "-o", "cat")  # noqa: E731
    until(lambda: "the new configuration is in effect" in log(), 15)
    (shared / "config.yaml").write_text(config.replace("type: scene", "type: scenery"), encoding="utf-8")
    container.run("systemctl", "reload", "edge.service")
    until(lambda: "new configuration rejected" in container.shown("edge.service", "StatusText"), 15)
    (shared / "config.yaml").write_text(config, encoding="utf-8")
    until(lambda: "refused" not in container.shown("edge.service", "StatusText"), 15)

    # The broker was unreachable for longer than the watchdog interval.
    time.sleep(8)
    assert container.shown("edge.service", "MainPID") == process
    assert container.shown("edge.service", "NRestarts") == "0"

    # Inference hangs and rebuilding does not help: the watchdog kills the process, and a new one works.
    assert len(unended(events(shared))) == 1
    (shared / "mischief").write_text("hang", encoding="ascii")
    took_s = until(lambda: "Watchdog timeout" in log(), 40)
    assert took_s > 10
    of_the_killed = len(events(shared))
    (shared / "mischief").write_text("good", encoding="ascii")
    until(lambda: container.shown("edge.service", "NRestarts") == "1", 20)
    until(lambda: container.shown("edge.service", "ActiveState") == "active", 30)
    assert container.shown("edge.service", "MainPID") != process

    # It stops in time and ends all open events.
    until(lambda: unended(events(shared)[of_the_killed:]), 15)
    began = time.monotonic()
    container.run("systemctl", "stop", "edge.service")
    assert time.monotonic() - began <= 3
    assert container.shown("edge.service", "Result") == "success"
    assert unended(events(shared)[of_the_killed:]) == set()
