"""`GET /api/clips/<name>`: the videos of events."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edge_app.config.services import WebConfig
from edge_app.options.secret import Secret

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")
from edge_app.web.server import PageServer
from tests.web.conftest import TOKEN, ask, page_data

VIDEO = bytes(range(256)) * 400


@pytest.fixture
def clips(tmp_path: Path):
    """A page with one clip. The file of a second one was deleted."""
    (tmp_path / "door-1-1.mp4").write_bytes(VIDEO)
    (tmp_path / "token").write_text(TOKEN, encoding="ascii")
    files = {name: tmp_path / name for name in ("door-1-1.mp4", "door-2-2.webm")}
    data = replace(page_data(), clip_names=lambda: {"door-1-1": "door-1-1.mp4"}, clip=files.get)
    page = PageServer(WebConfig(enabled=True, port=0, token=Secret("file", str(tmp_path / "token"))), data)
    yield page
    page.close()


def get(page: PageServer, path: str, **headers: str):
    return ask(page, path, Authorization=f"Bearer {TOKEN}", **headers)


def test_serves_a_clip_and_parts_of_it(clips):
    status, headers, body = get(clips, "/api/clips/door-1-1.mp4")
    assert (status, headers["Content-Type"], body) == (200, "video/mp4", VIDEO)
    assert headers["X-Content-Type-Options"] == "nosniff"
    status, headers, body = get(clips, "/api/clips/door-1-1.mp4", Range="bytes=1000-1999")
    assert (status, body) == (206, VIDEO[1000:2000])
    assert headers["Content-Range"] == f"bytes 1000-1999/{len(VIDEO)}"


def test_the_list_of_events_names_their_clips(clips):
    (event,) = json.loads(get(clips, "/api/events")[2])
    assert event["clip"] == "door-1-1.mp4"


def test_a_clip_needs_the_token(clips):
    assert ask(clips, "/api/clips/door-1-1.mp4")[0] == 401


@pytest.mark.parametrize(
    "name", ["other.mp4", "door-2-2.webm", "..%2Ftoken", "%2e%2e", "door-1-1", "%00", "x" * 5000, "door-1-1.mp4%2F"]
)
def test_any_other_name_is_not_found(clips, name):
    assert get(clips, f"/api/clips/{name}")[0] == 404


@pytest.mark.parametrize(
    "range_", ["bytes=999999999-", "bytes=5-2", "bytes=x", "chickens=1-2", "bytes=0-0,5-6", "bytes=-0"]
)
def test_a_strange_range_is_answered(clips, range_):
    status, _, body = get(clips, "/api/clips/door-1-1.mp4", Range=range_)
    assert status in (200, 206, 416)
    assert len(body) <= len(VIDEO)
