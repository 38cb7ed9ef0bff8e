"""The daemon as its service manager sees it: readiness, watchdog, reload, shutdown, recovery, degradation."""

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
from edge_app.daemon import status_socket
from edge_app.daemon.systemd import Notifier
from edge_app.errors import ConfigError
from edge_app.pipeline.sensors import Reading
from tests.running import Running, unended

BLACK = "mask: [[[0, 0], [1, 0], [1, 1], [0, 1]]]"  # a constant image, so that the scene never changes
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


def test_is_ready_after_the_first_frame_and_stops_cleanly_on_sigterm(written):
    with Running(written) as running:
        ready = running.wait_for("READY=1")
        assert "frames; camera running; mischief" in ready
        running.until(running.messages)
        assert running.stop(signal.SIGTERM) < 3
        assert running.process.returncode == 0
        assert any("STOPPING=1" in message for message in running.listen(0.2))
        events = running.messages()
        assert events[-1]["value"]["reason"] == "shutdown"
        assert unended(events) == set()


def test_stops_in_time_while_inference_hangs_and_immediately_on_a_second_signal(written, mischief):
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


def test_without_a_camera_it_is_not_ready_and_extends_the_start_timeout(written):
    rewrite(written, SOURCE,
            "{type: v4l2, device: /dev/video99, connect: retry}")  # fmt: skip
    with Running(written, WATCHDOG_USEC="1000000") as running:
        running.wait_for("EXTEND_TIMEOUT_USEC=")
        heard = running.heard + running.listen(2.0)
        assert any("STATUS=waiting for the first frame: " in text and "/dev/video99" in text for text in heard)
        assert not any("READY=1" in text for text in heard)
        assert "WATCHDOG=1" in heard, "retrying the camera is progress"
        assert running.process.poll() is None
        assert [event["value"]["fault"] for event in running.messages()] == ["camera"]


def test_pings_the_watchdog_only_while_there_is_progress(written, mischief):
    with Running(written, WATCHDOG_USEC="800000") as running:
        running.wait_for("READY=1")
        assert running.listen(2.0).count("WATCHDOG=1") >= 5
        mischief.write_text("hang", encoding="ascii")
        running.listen(2.0)  # until the deadline has passed
        assert "WATCHDOG=1" not in running.listen(1.0)
        assert "no progress: inference has failed" in running.errors()
        mischief.write_text("good", encoding="ascii")
        running.wait_for("WATCHDOG=1")
        running.until(
            lambda: any(e["type"] == "end" and e["value"].get("fault") == "backend" for e in running.messages())
        )
        assert running.process.poll() is None


def test_an_unreachable_broker_does_not_stop_watchdog_pings(written):
    rewrite(written, "{type: jsonl, path: out.jsonl}", "{type: mqtt, host: 127.0.0.1, port: 1}")
    with Running(written, WATCHDOG_USEC="800000") as running:
        running.wait_for("READY=1")
        assert running.listen(3.0).count("WATCHDOG=1") >= 6
        assert running.stop(signal.SIGTERM) < 3


def test_reloads_after_a_changed_file_and_after_sighup(written):
    with Running(written) as running:
        running.wait_for("READY=1")
        running.until(running.messages)
        rewrite(written, "path: out.jsonl", "path: other.jsonl")
        assert "MONOTONIC_USEC=" in running.wait_for("RELOADING=1")
        running.wait_for("READY=1")
        assert len(running.messages()) == 1, "only the changed part is rebuilt: the open event continues"
        running.process.send_signal(signal.SIGHUP)
        running.wait_for("RELOADING=1")
        running.wait_for("READY=1")
        assert running.stop(signal.SIGTERM) < 3
        assert [event["type"] for event in running.messages(name="other.jsonl")] == ["end"]


REJECTED = (
    ("type: jsonl", "type: jsnl", "did you mean 'jsonl'"),
    ("path: out.jsonl", "path: /nonexistent/x.jsonl", "/nonexistent"),
    (SOURCE, "{type: video, path: nowhere.mp4}", "nowhere.mp4"),
    ("models/digits", "models/nothing", "models/nothing"),
)


def test_rejects_an_unusable_configuration_and_keeps_the_old_one(written):
    with Running(written) as running:
        running.wait_for("READY=1")
        running.until(running.messages)
        for old, new, message in REJECTED:
            rewrite(written, old, new)
            running.wait_for("RELOADING=1")
            assert message in running.wait_for("READY=1")
            assert message in running.errors()
            rewrite(written, new, old)
            running.wait_for("RELOADING=1")
            assert message not in running.wait_for("READY=1")
        assert len(running.messages()) == 1, "the first event is still open"
        running.stop(signal.SIGTERM)
        assert unended(running.messages()) == set()


def test_a_camera_failure_is_an_event_and_does_not_end_the_process(written):
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
        assert lost, "events that were open when the camera was lost have ended"
        assert running.process.poll() is None


def test_only_the_user_can_open_the_status_socket(written):
    with Running(written) as running:
        running.wait_for("READY=1")
        path = written.parent / "state" / status_socket.FILE
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        state = status_socket.request_status(written.parent / "state")
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
            status_socket.request_status(written.parent / "state")


@dataclass
class Simulated:
    """Sensors with a reading that the test sets."""

    reading: Reading

    def read(self) -> Reading:
        return self.reading


def load_events(running: pipeline.Pipeline) -> tuple[list[tuple[str, str]], list[str]]:
    """The events of the fault `load`, in order: type and level of each; and their reasons."""
    events = [event for event in running.recent_events if event.value.get("fault") == "load"]
    return [(event.type, event.value.get("does")) for event in events], [event.value.get("reason") for event in events]


def test_the_load_is_lowered_and_raised_level_by_level(config_file, mischief, monkeypatch):
    """With a simulated thermal zone: each level is an event with its reason; the last level sends only heartbeats."""
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
            subject.step()
        frames = running.stats().frames
        for _ in range(20):
            subject.step()
        assert running.stats().frames <= frames + 1  # one may have been in flight
        statuses = running.stats().publish.statuses
        sensors.reading = Reading(temperature_c=40)
        while running.health().rung != "full" and time.monotonic() < deadline:
            subject.step()
        while running.stats().frames < frames + 20 and time.monotonic() < deadline:
            subject.step()
        assert statuses > 2
        assert running.stats().frames >= frames + 20
        assert running.health().heads == {"scene": True, "panel": True}
    finally:
        subject.close()
    steps, reasons = load_events(running)
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


def test_reuse_is_relaxed_before_a_head_is_disabled(config_file, mischief):
    """The configured reuse is restored on recovery; a backend rebuilt in the meantime stays relaxed."""
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
            subject.step()

    try:
        until(lambda: running.health().rung == "reuse more")
        sensors.reading = Reading(temperature_c=78)  # neither over the limit nor recovered: the level stays
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
    steps, reasons = load_events(running)
    assert steps == [
        ("new", "half rate"),
        ("update", "quarter rate"),
        ("update", "reuse more"),
        ("update", "quarter rate"),
        ("update", "half rate"),
        ("end", "half rate"),
    ]
    assert reasons[2] == "90 °C, limit 80"


def test_exceeding_the_memory_limit_requests_a_restart_with_an_event(config_file, mischief):
    from tests import plugins

    plugins.install()
    path = config_file(TEXT + "degrade: {restart_mb: 50}\n")
    running = pipeline.build(config.load(path))
    subject = daemon.Daemon(
        lambda: config.load(path), running, Notifier({}), Simulated(Reading(resident_mb=60.0)), min_uptime_s=0
    )
    deadline = time.monotonic() + 10
    while not subject.memory_limit_exceeded and time.monotonic() < deadline:
        subject.step()
    assert subject.memory_limit_exceeded
    subject.close()
    events = [event for event in running.recent_events if event.value.get("fault") == "memory"]
    assert [event.type for event in events] == ["new", "end"]
    assert events[0].value["resident_mb"] == 60.0
    assert events[1].value["reason"] == "shutdown"
