"""Commands, Save and Undo over HTTP: only with `web.commands` and the token, and in the documented form."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge_app.commands.store import ConfigStore
from edge_app.config.services import WebConfig
from edge_app.options.secret import Secret
from tests.web.conftest import TOKEN, PageServer, ask, page_data

from edge_app.web.commands import MAX_BODY_BYTES  # isort: skip

BEARER = {"Authorization": f"Bearer {TOKEN}"}
JSON = {**BEARER, "Content-Type": "application/json"}
TEXT = """\
# kept
device: {id: cam, state_dir: state}
source: {type: synthetic}
model: {path: PROJECT/models/digits}
rules: [{name: all, type: count, head: digits}]
"""


class Camera:
    """The daemon's side, without a pipeline."""

    def __init__(self, path: Path) -> None:
        self.store = ConfigStore(path)
        self.commands: list[tuple[str, bytes]] = []
        self.fails: OSError | None = None
        self.answers = True

    def view(self) -> Mapping[str, Any]:
        return self.store.view()

    def options(self) -> Mapping[str, Any]:
        return {"rules": {"count": {"properties": {}, "required": []}}, "heads": {}, "source": {}}

    def save(self, version: str, changes: Mapping[str, Any]) -> Mapping[str, Any]:
        if self.fails:
            raise self.fails
        return self.store.save(version, changes)

    def undo(self, version: str) -> Mapping[str, Any] | None:
        return self.store.undo(version)

    def submit(self, name: str, payload: bytes, answered: Callable[[Mapping[str, Any], int], None]) -> None:
        self.commands.append((name, payload))
        found = name != "rules/door"
        fields = {"id": "", "command": name, "ok": found, "error": None if found else "there is no rule 'door'"}
        if self.answers:
            answered(fields, 200 if found else 404)


@pytest.fixture
def camera(config_file) -> Camera:
    return Camera(config_file(TEXT))


@pytest.fixture
def page(tmp_path: Path, camera: Camera):
    running = start(tmp_path, camera, commands=True)
    yield running
    running.close()


def start(folder: Path, camera: Camera | None, *, commands: bool) -> PageServer:
    (folder / "token").write_text(TOKEN, encoding="ascii")
    settings = WebConfig(enabled=True, port=0, token=Secret("file", str(folder / "token")), commands=commands)
    return PageServer(settings, replace(page_data(), commands=camera))


def call(page: PageServer, path: str, body: Any = None, method: str = "POST", **headers: str) -> tuple[int, Any]:
    text = body if isinstance(body, str) or body is None else json.dumps(body)
    status, _, answer = ask(page, path, method, text, **{**JSON, **headers})
    return status, json.loads(answer) if answer.startswith(b"{") else answer.decode()


def config(page: PageServer) -> dict[str, Any]:
    status, answer = call(page, "/api/config", method="GET")
    assert status == 200
    return dict(answer)


def test_save_undo_and_conflict(page, camera: Camera):
    first = config(page)
    assert (first["commands"], first["rules"]) == (True, {"all": {"type": "count", "head": "digits"}})
    changes = {"rules": {"all": {"labels": ["1"]}}}
    status, saved = call(page, "/api/save", {"version": first["version"], "changes": changes})
    assert (status, saved["undo"], saved["stored_in"]) == (200, 1, "config.yaml")
    status, conflict = call(page, "/api/save", {"version": first["version"], "changes": changes})
    assert (status, conflict["version"]) == (409, saved["version"])
    assert conflict["config"] == config(page)
    status, undone = call(page, "/api/undo", {"version": saved["version"]})
    assert (status, undone["version"], undone["undo"]) == (200, first["version"], 0)
    assert call(page, "/api/undo", {"version": undone["version"]})[0] == 404


def test_mistakes_are_lines_and_change_nothing(page, camera: Camera):
    before = config(page)
    changes = {"rules": {"all": {"head": "face"}}, "heads": {"digits": {"score": 3}}}
    status, answer = call(page, "/api/save", {"version": before["version"], "changes": changes})
    assert status == 422
    assert [line.partition(":")[0] for line in answer["errors"]] == ["rules.all.head", "heads.digits.score"]
    assert config(page) == before
    for body in ({}, {"version": 1, "changes": {}}, {"version": before["version"]}):
        assert call(page, "/api/save", body)[0] == 422


def test_the_options_need_the_token(page, camera: Camera):
    assert call(page, "/api/options", method="GET") == (200, camera.options())
    assert ask(page, "/api/options")[0] == 401


def test_a_full_disk_is_reported(page, camera: Camera):
    camera.fails = OSError(28, "No space left on device")
    status, answer = call(page, "/api/save", {"version": config(page)["version"], "changes": {}})
    assert (status, answer) == (507, {"error": "not saved: No space left on device; nothing was changed"})


def test_a_command_is_answered_with_its_status(page, camera: Camera):
    assert call(page, "/api/set/rules/all", "OFF", Content_Type="text/plain") == (
        200,
        {"id": "", "command": "rules/all", "ok": True, "error": None},
    )
    assert call(page, "/api/set/rules/door", {"value": "ON"})[0] == 404
    assert call(page, "/api/set/snapshot")[0] == 200
    assert camera.commands == [("rules/all", b"OFF"), ("rules/door", b'{"value": "ON"}'), ("snapshot", b"")]


def test_a_command_without_an_answer_is_reported(page, camera: Camera):
    camera.answers = False
    status, answer = call(page, "/api/set/snapshot")
    assert (status, answer["ok"]) == (503, False)


@pytest.mark.parametrize("path", ["/api/save", "/api/undo", "/api/set/restart"])
def test_needs_the_token_the_own_origin_and_the_option(tmp_path: Path, page, camera: Camera, path: str):
    body = json.dumps({"version": config(page)["version"], "changes": {"rules": {"all": None}}})
    assert ask(page, path, "POST", body, Content_Type="application/json")[0] == 401
    assert ask(page, path, "POST", body, **JSON, Origin="https://evil.example")[0] == 403
    assert ask(page, path, "GET", None, **BEARER)[0] == 405
    read_only = start(tmp_path, camera, commands=False)
    try:
        assert ask(read_only, path, "POST", body, **JSON)[0] == 403
        assert config(read_only)["commands"] is False
    finally:
        read_only.close()
    assert camera.commands == []
    assert "all" in config(page)["rules"]


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ("{}", {"Content_Type": "text/plain"}, 415),
        ("version=1", {"Content_Type": "application/x-www-form-urlencoded"}, 415),
        ("[", {}, 400),
        ("[1]", {}, 400),
        ('{"version": NaN}', {}, 400),
        ("[" * 10_000, {}, 400),
        ('"' + "x" * MAX_BODY_BYTES + '"', {}, 413),
    ],
)
def test_bad_bodies_are_rejected(page, camera: Camera, body: str, headers: dict[str, str], status: int):
    assert call(page, "/api/save", body, **headers)[0] == status


def test_without_a_daemon_there_is_nothing_to_change(tmp_path: Path):
    running = start(tmp_path, None, commands=True)
    try:
        assert config(running) == {"commands": False}
        assert call(running, "/api/set/restart")[0] == 403
    finally:
        running.close()
