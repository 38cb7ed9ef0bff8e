"""A running page over real sockets: open to this machine, or guarded by a token."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from edge_app.config.services import WebConfig
from edge_app.frame import Event
from edge_app.options.secret import Secret

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web.data import PageData
from edge_app.web.server import PageServer

TOKEN = "a long token"
EVENT = Event("new", "door-1-1", "door", "zone", 1, 2, value={"label": "<b>"})
STATE = {
    "stuck": None,
    "uptime_s": 1.0,
    "frames": 7,
    "skipped": 0,
    "rebuilt": 0,
    "rung": "full",
    "faults": {},
    "resident_mb": 50.0,
    "available_mb": None,
    "temperature_c": 41.5,
    "latency_s": 0.1,
    "source": {"state": "running", "dropped": 2, "failures": 0},
    "reuse": {"gate": 5, "dense": 2, "cache_bytes": 0},
    "stages": {"inference": {"p50_ms": 5.0}},
    "totals": {"camera": "yard", "rules": {"gate": {"in": {"total": 12, "day": 3, "hour": 1}}}},
    "publish": {
        "results": 3,
        "events": 1,
        "statuses": 0,
        "lost": 0,
        "sinks": [{"name": "mqtt", "queued": 4, "sent": 5}],
    },
}


def page_data(state=STATE) -> PageData:
    pictures = {"door-1-1": b"\xff\xd8jpeg"}
    return PageData({"digits": ("0", "1")}, lambda: state, lambda: [EVENT], pictures.keys, pictures.get)


@pytest.fixture
def page():
    running = PageServer(WebConfig(enabled=True, port=0, fps=30), page_data())
    yield running
    running.close()


@pytest.fixture
def guarded(tmp_path: Path):
    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    running = PageServer(WebConfig(enabled=True, port=0, token=Secret("file", str(tmp_path / "token"))), page_data())
    yield running
    running.close()


def ask(page: PageServer, path: str, method: str = "GET", body: str | None = None, *, source: str = "", **headers: str):
    """Status, headers and body of one request, from the address `source`."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=20, source_address=(source, 0))
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found
