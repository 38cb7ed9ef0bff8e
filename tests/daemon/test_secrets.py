"""Secrets and control characters reach no output of a running daemon: log, status, page, metrics, health file, results.

A canary is planted in every option of type Secret and in the address of every network plug-in of the registry, and all
peers answer with control characters. A new plug-in is covered without edits. Not here: each plug-in by itself
(tests/sinks/test_secrets.py, tests/sources/test_secrets.py).
"""

from __future__ import annotations

import base64
import json
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edge_app.daemon import status_socket
from tests.hostile_peers import HostilePeer, control_characters
from tests.running import Running, free_port
from tests.sinks import loopback
from tests.sources import network

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")

CANARY = "c4nary-7f3a"
REFERENCE = "env:EDGE_TEST_CANARY"
SHOWN = (CANARY, base64.b64encode(f"cam:{CANARY}".encode()).decode(), "4nary")
PATHS = ("/", "/healthz", "/metrics", "/api/status", "/api/events", "/api/nothing")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def peer() -> Iterator[HostilePeer]:
    with HostilePeer(control_characters) as running:
        yield running


def sinks(folder: Path, port: int) -> list[dict[str, Any]]:
    """Every sink with a secret, pointed at the peer."""
    found = []
    for type_ in loopback.SINKS:
        if loopback.secrets(type_):
            options = loopback.given(type_, folder, port=port, **dict.fromkeys(loopback.secrets(type_), REFERENCE))
            if "username" in loopback.options(type_):
                options["username"] = "cam"
            found.append({"type": type_, **options})
    return found


def sources(port: int) -> list[dict[str, Any]]:
    """Every network source: with a secret in each option that takes one, and with one in its address."""
    found = []
    for type_ in network.TYPES:
        ((name, url),) = network.url_options(type_).items()
        found.append({name: f"{url.schemes[0]}://cam:{CANARY}@127.0.0.1:{port}/password={CANARY}?x={CANARY}"})
        found += [
            {name: f"{url.schemes[0]}://cam@127.0.0.1:{port}/", option: REFERENCE}
            for option in network.secret_options(type_)
            if "credentials" not in option
        ]
        found = [{"type": type_, "connect": "retry", **options} for options in found]
    return found


def configured(config_file, port: int, **blocks: Any) -> Path:
    text = {
        "device": {"id": "cam", "state_dir": "state"},
        "source": {"type": "synthetic", "fps": 20, "live": True},
        "model": {"path": "PROJECT/models/digits", "backend": "onnx"},
        "publish": {"results": "all", "status_every_s": 0.5},
        "web": {"enabled": True, "port": port, "token": REFERENCE},
        **blocks,
    }
    text["sinks"] = [{"type": "jsonl", "path": "out.jsonl"}, *blocks.get("sinks", ())]
    return config_file(json.dumps(text, default=str))


def get(port: int, path: str) -> str:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", headers={"Authorization": f"Bearer {CANARY}", "X": CANARY}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.read().decode()
    except urllib.error.HTTPError as error:
        return error.read().decode()


def texts(value: Any) -> Iterator[str]:
    """All texts of a JSON value, names included."""
    if isinstance(value, dict):
        for name, each in value.items():
            yield name
            yield from texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from texts(each)
    elif isinstance(value, str):
        yield value


def check_outputs(running: Running, port: int) -> None:
    status = status_socket.request_status(running.folder / "state")
    pages = {path: get(port, path) for path in PATHS}
    assert json.loads(pages["/api/status"])["pid"] == running.process.pid
    for text in (*texts(status), *texts(json.loads(pages["/api/status"]))):
        assert text.isprintable(), repr(text)
    lines = [*status_socket.as_table(status).splitlines(), *pages["/metrics"].splitlines()]
    lines += [*running.errors().splitlines(), *"\n".join(running.heard).splitlines()]
    for line in lines:
        assert line.isprintable(), repr(line)
    files = [path.read_text(encoding="utf-8") for path in running.folder.glob("*.json*")]
    assert len(files) == 2, "health file and results"
    for output in (json.dumps(status), *pages.values(), *lines, *files):
        assert not [shown for shown in SHOWN if shown in output], output
    assert "Traceback" not in running.errors()


def test_failing_sinks_show_no_secret(config_file, port, peer, tmp_path):
    path = configured(config_file, port, sinks=sinks(tmp_path, peer.port))
    count = len(sinks(tmp_path, peer.port))
    with Running(path, "--health-file", str(tmp_path / "health.json"), EDGE_TEST_CANARY=CANARY) as running:
        running.wait_for("READY=1")
        running.until(lambda: running.errors().count("retrying") >= count)
        running.until(lambda: len(running.messages("status")) >= 2)
        check_outputs(running, port)
        running.stop(signal.SIGTERM)
        assert CANARY not in running.errors()


@pytest.mark.parametrize("number", range(len(sources(1))))
def test_a_failing_source_shows_no_secret(config_file, port, peer, tmp_path, number):
    path = configured(config_file, port, source=sources(peer.port)[number])
    with Running(path, "--health-file", str(tmp_path / "health.json"), EDGE_TEST_CANARY=CANARY) as running:
        running.wait_for("STATUS=waiting for the first frame: ")
        running.until(running.messages)
        check_outputs(running, port)


MISTAKES = (
    {"web": {"enabled": True, "token": CANARY}},
    {"web": {"enabled": True, "tokn": CANARY}},
    {"sinks": [{"type": "mqtt", "host": "127.0.0.1", "password": CANARY}]},
    {"sinks": [{"type": "mqtt", "host": f"mqtt://cam:{CANARY}@127.0.0.1"}]},
    {"sinks": [{"type": "http", "url": f"http://cam:{CANARY}/@127.0.0.1:99999/"}]},
    {"sinks": [{"type": "http", "url": "http://127.0.0.1:1/", "headers": {"X": [CANARY]}}]},
    {"source": {"type": "rtsp", "url": f"rtsp://cam:{CANARY}@[::1/"}},
    {"source": {"type": "rtsp", "url": f"rtsp://cam:{CANARY}#@127.0.0.1:1/"}},
    {"source": {"type": "rtsp", "url": f"rtsp://127.0.0.1:1/?password={CANARY}\x1b[31m"}},
)


def test_rejected_configurations_show_no_secret(config_file, port, tmp_path):
    path = configured(config_file, port)
    with Running(path, "--health-file", str(tmp_path / "health.json"), EDGE_TEST_CANARY=CANARY) as running:
        running.wait_for("READY=1")
        for number, mistake in enumerate(MISTAKES):
            configured(config_file, port, **mistake)
            running.process.send_signal(signal.SIGHUP)
            running.wait_for("RELOADING=1")
            assert "rejected" in running.wait_for("READY=1"), (number, mistake)
            check_outputs(running, port)
        path.write_text(f'web: {{token: "{CANARY}\n', encoding="utf-8")
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("RELOADING=1")
        assert "rejected" in running.wait_for("READY=1")
        check_outputs(running, port)
