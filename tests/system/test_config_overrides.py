"""A daemon under systemd that cannot write its config.yaml saves in state_dir. Debian packages: systemd-container."""

from __future__ import annotations

import json
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from edge_app.config.overrides import FILE
from tests.conftest import PROJECT
from tests.running import free_port
from tests.system.container import INSIDE, Container, missing

pytestmark = [pytest.mark.system, pytest.mark.skipif(missing() is not None, reason=str(missing()))]

TOKEN = "a long random token"
UNIT = f"""
[Service]
Type=notify
TimeoutStopSec=10
WorkingDirectory={PROJECT}
Environment=PYTHONPATH={PROJECT} PYTHONDONTWRITEBYTECODE=1
ExecStart={sys.executable} -m edge_app run -c {INSIDE}/config.yaml
StateDirectory=edge-app
ProtectSystem=strict
ReadOnlyPaths={INSIDE}
"""
CONFIG = """\
# stays as it is
device: {id: cam, state_dir: /var/lib/edge-app}
source: {type: synthetic, width: 320, height: 240, fps: 20}
model: {path: PROJECT/models/digits}
rules: [{name: all, type: count, head: digits}]
web: {enabled: true, port: WEB, token: "file:token", commands: true}
"""


@pytest.fixture
def camera(tmp_path: Path):
    shared = tmp_path / "shared"
    shared.mkdir()
    port = free_port()
    text = CONFIG.replace("PROJECT", str(PROJECT)).replace("WEB", str(port))
    (shared / "config.yaml").write_text(text, encoding="utf-8")
    (shared / "token").write_text(TOKEN, encoding="ascii")
    running = Container(tmp_path / "root", shared, {"edge.service": UNIT})
    yield running, shared, port
    running.close()


def ask(port: int, path: str, body: Any = None) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return dict(json.loads(answer.read()))


def wait_for(port: int, rules: list[str]) -> None:
    end_s = time.monotonic() + 30
    while list(ask(port, "/api/status")["rules"]) != rules:
        assert time.monotonic() < end_s
        time.sleep(0.2)


def test_save_goes_over_a_config_yaml_that_cannot_be_written(camera):
    container, shared, port = camera
    before = (shared / "config.yaml").read_bytes()
    container.run("systemctl", "start", "edge.service")
    version = ask(port, "/api/config")["version"]
    changes = {"rules": {"ones": {"type": "count", "head": "digits", "labels": ["1"]}}}
    saved = ask(port, "/api/save", {"version": version, "changes": changes})
    assert saved["stored_in"] == FILE
    wait_for(port, ["all", "ones"])
    persisted = ask(port, "/api/set/rules/all", {"value": "OFF", "persist": True})
    assert persisted["ok"], persisted
    container.run("systemctl", "restart", "edge.service")
    wait_for(port, ["all", "ones"])
    assert ask(port, "/api/status")["rules"] == {"all": False, "ones": True}
    assert "rules.all.enabled" in ask(port, "/api/status")["overrides"]
    assert (shared / "config.yaml").read_bytes() == before
    reset = (
        f"cd {PROJECT} && PYTHONDONTWRITEBYTECODE=1 {sys.executable} -m edge_app config reset -c {INSIDE}/config.yaml"
    )
    assert f"{FILE} deleted: rules.ones" in container.run("sh", "-c", reset)
    wait_for(port, ["all"])
