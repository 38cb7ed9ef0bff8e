"""Commands take effect between two frames, hold across reloads, and are answered and published."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from edge_app import config, daemon, pipeline
from edge_app.config.overrides import FILE
from edge_app.daemon.systemd import Notifier
from edge_app.pipeline.sensors import Reading

TEXT = """\
# the gate
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 50, live: true}
model: {path: PROJECT/models/digits}
heads:
  scene:
  digits: {score: 0.4}  # tuned
rules:
  - {name: all, type: count, head: digits}
snapshots: {enabled: true}
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
"""


class NoSensors:
    def read(self) -> Reading:
        return Reading()


class CommandedDaemon:
    """A daemon on one thread, commanded as the page does it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        loaded = config.load(path)
        self.daemon = daemon.Daemon(lambda: config.load(path), pipeline.build(loaded), Notifier({}), NoSensors())
        self.commands = self.daemon._services.first.commands

    def command(self, name: str, payload: bytes = b"") -> dict[str, Any]:
        """The answer to a command."""
        answers: list[dict[str, Any]] = []
        self.commands.submit(name, payload, lambda fields, status: answers.append({**fields, "status": status}))
        self.step_until(lambda: bool(answers))
        return answers[0]

    def step_until(self, condition, timeout_s: float = 20.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end_s, "did not happen in time"
            self.daemon.step()

    def events(self) -> list[dict[str, Any]]:
        """The published events about commands."""
        lines = (self.path.parent / "out.jsonl").read_text(encoding="utf-8").splitlines()
        found = [json.loads(line) for line in lines]
        return [each for each in found if each["kind"] == "event" and "command" in each["value"]]


@pytest.fixture
def subject(config_file):
    subject = CommandedDaemon(config_file(TEXT))
    yield subject
    subject.daemon.close()


def test_switches_scores_and_snapshots(subject: CommandedDaemon):
    running = subject.daemon.running
    assert subject.command("rules/all", b'{"value": "OFF", "id": "7"}') == {
        "id": "7",
        "command": "rules/all",
        "ok": True,
        "error": None,
        "status": 200,
    }
    assert running.health().rules == {"all": False}
    assert subject.command("heads/scene", b"OFF")["ok"]
    assert running.health().heads == {"scene": False, "digits": True}
    model = running._inference._inference
    assert subject.command("heads/digits/score", b"0.9")["ok"]
    assert running.config.heads["digits"].options["score"] == 0.9
    assert running._inference._inference is model, "the model was loaded again"
    assert subject.command("snapshot")["ok"]
    folder = subject.path.parent / "state" / "snapshots"
    subject.step_until(lambda: any(folder.glob("runtime-*.jpg")))
    subject.daemon.close()
    events = subject.events()
    assert [event["value"]["command"] for event in events if event["type"] == "new"] == [
        "rules/all",
        "heads/scene",
        "heads/digits/score",
        "snapshot",
    ]
    assert events[0]["value"] == {"command": "rules/all", "value": "OFF", "origin": "page", "id": "7"}


def test_a_change_holds_across_a_reload_until_the_file_says_otherwise(subject: CommandedDaemon):
    assert subject.command("rules/all", b"OFF")["ok"]
    assert subject.command("heads/digits/score", b"0.9")["ok"]
    text = subject.path.read_text(encoding="utf-8")
    subject.path.write_text(text.replace("score: 0.4", "score: 0.3"), encoding="utf-8")
    subject.daemon.reload()
    assert subject.daemon.status()["reload_error"] is None
    assert subject.daemon.running.health().rules == {"all": False}
    assert subject.daemon.running.config.heads["digits"].options["score"] == 0.3
    assert subject.daemon.status()["commands"] == {"rules/all": False}


def test_persist_stores_the_change_and_keeps_comments(subject: CommandedDaemon):
    assert subject.command("heads/digits/score", b'{"value": 0.9, "persist": true}')["ok"]
    text = subject.path.read_text(encoding="utf-8")
    assert text == TEXT.replace("score: 0.4", "score: 0.9").replace("PROJECT", str(Path(__file__).parents[2]))
    subject.step_until(lambda: "commands" not in subject.daemon.status())
    assert subject.daemon.running.config.heads["digits"].options["score"] == 0.9


def test_mute_ends_by_itself(subject: CommandedDaemon):
    assert subject.command("mute", b"0.001")["ok"]
    assert subject.daemon.running.health().rules == {"all": False}
    subject.step_until(lambda: subject.daemon.running.health().rules == {"all": True})


def test_rejects_what_does_not_fit(subject: CommandedDaemon):
    before = subject.daemon.running.config
    for name, payload, status, problem in (
        ("rules/door", b"ON", 404, "rules/door: there is no rule 'door'; expected one of: all"),
        ("heads/face", b"ON", 404, "there is no head 'face'"),
        ("rules/all", b"maybe", 400, "expected ON or OFF"),
        ("precision", b'{"value": "int4"}', 400, "expected float or int8 or auto"),
        ("delete", b"", 404, "found no command 'delete'"),
    ):
        answer = subject.command(name, payload)
        assert (answer["ok"], answer["status"]) == (False, status)
        assert problem in answer["error"]
    assert subject.daemon.running.config == before
    assert subject.daemon.step() is not None or subject.daemon.step() is not None


def test_save_is_applied_and_a_removed_overrides_file_too(subject: CommandedDaemon):
    version = subject.commands.view()["version"]
    subject.commands.save(
        version, {"rules": {"all": None, "ones": {"type": "count", "head": "digits", "labels": ["1"]}}}
    )
    subject.step_until(lambda: list(subject.daemon.running.health().rules) == ["ones"])
    file = subject.path.parent / "state" / FILE
    file.write_text("heads: {digits: {score: 0.8}}\n", encoding="utf-8")
    subject.step_until(lambda: subject.daemon.status().get("overrides") == ["heads.digits.score"])
    file.unlink()
    subject.step_until(lambda: "overrides" not in subject.daemon.status())
    assert subject.daemon.running.config.heads["digits"].options["score"] == 0.4


def test_restart_lets_a_new_process_take_over(subject: CommandedDaemon):
    assert subject.daemon.restarts is None
    assert subject.command("restart")["ok"]
    assert subject.daemon.restarts == "commanded"
