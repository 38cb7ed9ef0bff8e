"""The daemon as its service manager sees it: readiness, pings, reload, its end; and that it heals and sheds load."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from edge_app import config, daemon, pipeline
from edge_app.daemon import status_socket as control
from edge_app.daemon.systemd import Notifier
from edge_app.errors import ConfigError
from edge_app.pipeline.sensors import Reading
from tests.running import Running, unended

BLACK = "mask: [[[0, 0], [1, 0], [1, 1], [0, 1]]]"  # so that the scene is always the same, whatever the model learnt
SOURCE = f"{{type: synthetic, {BLACK}, width: 320, height: 240, fps: 20}}"
TEXT = f"""
device: {{id: cam, state_dir: state}}
source: {SOURCE}
model: {{path: PROJECT/models/digits, backend: mischief, deadline_s: 0.5}}
heads: {{scene: {{}}, panel: {{}}}}
rules: [{{name: camera, type: scene, head: scene, ok: ok, after_s: 0, min_score: 0}}]
publish: {{results: none, status_every_s: 0}}
sinks: [{{type: jsonl, path: out.jsonl}}]
"""


@pytest.fixture
def mischief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "mischief"
    path.write_text("good", encoding="ascii")
    monkeypatch.setenv("MISCHIEF", str(path))
    return path


@pytest.fixture
def written(config_file, mischief) -> Path:
    return config_file(TEXT)


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    fresh = path.with_suffix(".new")
    fresh.write_text(text.replace(old, new), encoding="utf-8")
    fresh.replace(path)


def test_it_is_ready_once_a_frame_was_seen_and_stops_in_order_on_sigterm(written):
    with Running(written) as running:
        ready = running.wait_for("READY=1")
        assert "frames; camera running; mischief" in ready
        running.until(running.messages)
        assert running.stop(signal.SIGTERM) < 3
        assert running.process.returncode == 0
        assert any("STOPPING=1" in word for word in running.listen(0.2))
        events = running.messages()
        assert events[-1]["value"]["reason"] == "shutdown"
        assert unended(events) == set()


def test_it_stops_in_time_while_inference_hangs_and_at_once_when_asked_twice(written, mischief):
    rewrite(written, "deadline_s: 0.5", "deadline_s: 60")
    with Running(written) as running:
        running.wait_for("READY=1")
        running.until(running.messages)
        mischief.write_text("hang", encoding="ascii")
        time.sleep(0.5)
        assert running.stop(signal.SIGTERM) < 3
        assert running.process.returncode == 0, running.errors()
        assert unended(running.messages()) == set()
    mischief.write_text("good", encoding="ascii")
    with Running(written) as running:
        running.wait_for("READY=1")
        mischief.write_text("hang", encoding="ascii")
        time.sleep(0.3)
        running.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert running.stop(signal.SIGTERM) < 0.5
        assert running.process.returncode == 128 + signal.SIGTERM


def test_without_a_camera_it_is_not_ready_and_asks_for_more_time(written):
    rewrite(written, SOURCE,
            "{type: v4l2, device: /dev/video99, connect: retry}")  # fmt: skip
    with Running(written, WATCHDOG_USEC="1000000") as running:
        running.wait_for("EXTEND_TIMEOUT_USEC=")
        heard = running.heard + running.listen(2.0)
        assert any("STATUS=waiting for the first frame: " in word and "/dev/video99" in word for word in heard)
        assert not any("READY=1" in word for word in heard)
        assert "WATCHDOG=1" in heard, "an absent camera is retried, which is progress"
        assert running.process.poll() is None
        assert [event["value"]["fault"] for event in running.messages()] == ["camera"]


def test_the_watchdog_is_pinged_on_progress_only(written, mischief):
    with Running(written, WATCHDOG_USEC="800000") as running:
        running.wait_for("READY=1")
        assert running.listen(2.0).count("WATCHDOG=1") >= 5
        mischief.write_text("hang", encoding="ascii")
        running.listen(2.0)  # its deadline, and what it tells before it is stuck
        assert "WATCHDOG=1" not in running.listen(1.0)
        assert "no progress: inference has failed" in running.errors()
        mischief.write_text("good", encoding="ascii")
        running.wait_for("WATCHDOG=1")
        running.until(
            lambda: any(e["type"] == "end" and e["value"].get("fault") == "backend" for e in running.messages())
        )
        assert running.process.poll() is None


def test_a_broker_that_is_away_is_no_reason_to_keep_silent(written):
    rewrite(written, "{type: jsonl, path: out.jsonl}", "{type: mqtt, host: 127.0.0.1, port: 1}")
    with Running(written, WATCHDOG_USEC="800000") as running:
        running.wait_for("READY=1")
        assert running.listen(3.0).count("WATCHDOG=1") >= 6
        assert running.stop(signal.SIGTERM) < 3


def test_a_changed_file_and_sighup_reload(written):
    with Running(written) as running:
        running.wait_for("READY=1")
        running.until(running.messages)
        rewrite(written, "path: out.jsonl", "path: other.jsonl")
        assert "MONOTONIC_USEC=" in running.wait_for("RELOADING=1")
        running.wait_for("READY=1")
        assert len(running.messages()) == 1, "only what changed is built anew: the open event goes on"
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("RELOADING=1")
        running.wait_for("READY=1")
        assert running.stop(signal.SIGTERM) < 3
        assert [event["type"] for event in running.messages(name="other.jsonl")] == ["end"]


REFUSED = (
    ("type: jsonl", "type: jsnl", "did you mean 'jsonl'"),
    ("path: out.jsonl", "path: /nonexistent/x.jsonl", "/nonexistent"),
    (SOURCE, "{type: video, path: nowhere.mp4}", "nowhere.mp4"),
    ("models/digits", "models/nothing", "models/nothing"),
)


def test_a_configuration_that_cannot_be_used_is_refused_and_the_old_one_runs_on(written):
    with Running(written) as running:
        running.wait_for("READY=1")
        running.until(running.messages)
        for old, new, said in REFUSED:
            rewrite(written, old, new)
            running.wait_for("RELOADING=1")
            assert said in running.wait_for("READY=1")
            assert said in running.errors()
            rewrite(written, new, old)
            running.wait_for("RELOADING=1")
            assert said not in running.wait_for("READY=1")
        assert len(running.messages()) == 1, "the event that was open at first still is"
        running.stop(signal.SIGTERM)
        assert unended(running.messages()) == set()


def test_a_camera_that_fails_is_an_event_and_not_an_exit(written):
    rewrite(written, "fps: 20}", "fps: 20, live: true, fail_at: 20}")
    with Running(written) as running:
        running.wait_for("READY=1")
        running.until(
            lambda: [e for e in running.messages() if e["type"] == "end" and e["value"].get("fault") == "camera"]
        )
        (began, *_), (ended, *_) = (
            [e for e in running.messages() if e["type"] == type_ and e["rule"] == "runtime"] for type_ in ("new", "end")
        )
        assert began["value"]["state"] == "lost"
        assert "fails at frame" in began["value"]["error"]
        assert ended["event_id"] == began["event_id"]
        assert ended["value"]["reason"] == "recovered"
        lost = [e for e in running.messages() if e["value"].get("reason") == "source_lost"]
        assert lost, "what was going on before the camera was lost has ended"
        assert running.process.poll() is None


def test_status_is_asked_over_a_socket_that_only_user_and_group_may_open(written):
    with Running(written) as running:
        running.wait_for("READY=1")
        path = written.parent / "state" / control.FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        state = control.ask(written.parent / "state")
        assert state["pid"] == running.process.pid
        assert state["faults"] == {}
        command = [sys.executable, "-m", "edge_app.cli", "status", "-c", str(written)]
        table = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        assert "stages.inference.p50_ms" in table
        assert "publish.sinks.jsonl.sent" in table
        assert (
            json.loads(subprocess.run([*command, "--json"], capture_output=True, check=True).stdout)["model"]
            == "digits"
        )
        running.stop(signal.SIGTERM)
        assert not path.exists()
        with pytest.raises(ConfigError, match="no daemon answers"):
            control.ask(written.parent / "state")


@dataclass
class Simulated:
    """Sensors of a test: what they read is set from outside."""

    reading: Reading

    def read(self) -> Reading:
        return self.reading


def told_of_load(running: pipeline.Pipeline) -> tuple[list[tuple[str, str]], list[str]]:
    """What was told of the ladder, in order: type and step of each event; and their reasons."""
    events = [event for event in running.recent_events if event.value.get("fault") == "load"]
    return [(event.type, event.value.get("does")) for event in events], [event.value.get("reason") for event in events]


def test_load_is_shed_step_by_step_and_taken_on_again(config_file, mischief, monkeypatch):
    """A simulated thermal zone: every rung is an event with its reason, at the end only heartbeats are left."""
    from tests import plugins

    plugins.install()
    degrade = "degrade: {temperature_c: 80, step_s: 0, climb_s: 0}\n"
    path = config_file(
        TEXT.replace("status_every_s: 0", "status_every_s: 0.2").replace("fps: 20", "fps: 20, live: true") + degrade
    )
    settings = config.load(path)
    sensors = Simulated(Reading(temperature_c=90))
    running = pipeline.build(settings)
    subject = daemon.Daemon(lambda: config.load(path), running, Notifier({}), sensors)
    try:
        deadline = time.monotonic() + 30
        while running.health().rung != "heartbeat only" and time.monotonic() < deadline:
            subject.turn()
        frames = running.stats().frames
        for _ in range(20):
            subject.turn()
        assert running.stats().frames <= frames + 1  # one may have been in flight
        statuses = running.stats().publish.statuses
        sensors.reading = Reading(temperature_c=40)
        while running.health().rung != "full" and time.monotonic() < deadline:
            subject.turn()
        while running.stats().frames < frames + 20 and time.monotonic() < deadline:
            subject.turn()
        assert statuses > 2
        assert running.stats().frames >= frames + 20
        assert running.health().heads == {"scene": True, "panel": True}
    finally:
        subject.close()
    steps, reasons = told_of_load(running)
    assert steps == [
        ("new", "half rate"),
        ("update", "quarter rate"),
        ("update", "without panel"),
        ("update", "heartbeat only"),
        ("update", "without panel"),
        ("update", "quarter rate"),
        ("update", "half rate"),
        ("end", "half rate"),
    ]
    assert reasons[0] == "90 °C, limit 80"


def test_under_strain_more_is_reused_before_a_head_is_dropped(config_file, mischief):
    """What is configured is gone back to, and a model that is built anew meanwhile is under the same strain."""
    from tests import plugins

    plugins.install()
    blocks = "reuse: {mode: gate, max_age_s: 0.2}\ndegrade: {temperature_c: 80, step_s: 0.4, climb_s: 0}\n"
    path = config_file(TEXT.replace("fps: 20", "fps: 20, live: true") + blocks)
    sensors = Simulated(Reading(temperature_c=90))
    running = pipeline.build(config.load(path))
    subject = daemon.Daemon(lambda: config.load(path), running, Notifier({}), sensors)

    def until(true) -> None:
        deadline = time.monotonic() + 20
        while not true():
            assert time.monotonic() < deadline, running.health()
            subject.turn()

    try:
        until(lambda: running.health().rung == "reuse more")
        sensors.reading = Reading(temperature_c=78)  # not hot, not cool: it stays on this rung
        assert running.health().heads == {"scene": True, "panel": True}
        until(lambda: running.reuse_stats().get("eased"))
        mischief.write_text("fail", encoding="ascii")
        until(lambda: running.stats().rebuilt)
        assert running.reuse_stats() == {}
        mischief.write_text("good", encoding="ascii")
        until(running.reuse_stats)
        assert running.reuse_stats()["eased"]
        sensors.reading = Reading(temperature_c=40)
        until(lambda: running.health().rung == "full")
        until(lambda: not running.reuse_stats()["eased"])
    finally:
        subject.close()
    steps, reasons = told_of_load(running)
    assert steps == [
        ("new", "half rate"),
        ("update", "quarter rate"),
        ("update", "reuse more"),
        ("update", "quarter rate"),
        ("update", "half rate"),
        ("end", "half rate"),
    ]
    assert reasons[2] == "90 °C, limit 80"


def test_memory_beyond_its_limit_asks_for_a_restart_and_says_so(config_file, mischief):
    from tests import plugins

    plugins.install()
    path = config_file(TEXT + "degrade: {restart_mb: 50}\n")
    running = pipeline.build(config.load(path))
    subject = daemon.Daemon(
        lambda: config.load(path), running, Notifier({}), Simulated(Reading(resident_mb=60.0)), settled_s=0
    )
    deadline = time.monotonic() + 10
    while not subject.outgrown and time.monotonic() < deadline:
        subject.turn()
    assert subject.outgrown
    subject.close()
    told = [event for event in running.recent_events if event.value.get("fault") == "memory"]
    assert [event.type for event in told] == ["new", "end"]
    assert told[0].value["resident_mb"] == 60.0
    assert told[1].value["reason"] == "shutdown"
