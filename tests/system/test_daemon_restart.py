"""A daemon above its memory limit restarts in order and reports the reason. Needs no container.

A system test for its length only: for its first half minute a daemon asks for no restart.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from edge_app.daemon import status_socket
from tests.running import Running, unended

pytestmark = [pytest.mark.system, pytest.mark.alone]

CONFIG = """
device: {id: cam, state_dir: state}
source: {type: synthetic, mask: [[[0, 0], [1, 0], [1, 1], [0, 1]]], width: 320, height: 240, fps: 20}
model: {path: PROJECT/models/digits, backend: mischief}
heads: {scene: {}}
rules: [{name: camera, type: scene, head: scene, ok: ok, after_s: 0, min_score: 0}]
publish: {results: none, status_every_s: 1}
sinks: [{type: jsonl, path: out.jsonl}]
"""
GROWTH_MB = 80


def resident_mb(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def test_exceeding_the_memory_limit_restarts_in_order_and_is_reported(config_file, tmp_path: Path):
    mischief = tmp_path / "mischief"
    mischief.write_text("good", encoding="ascii")
    path = config_file(CONFIG)
    with Running(path, MISCHIEF=str(mischief), WATCHDOG_USEC="10000000") as running:
        running.wait_for("READY=1")
        limit_mb = round(resident_mb(running.process.pid) + GROWTH_MB)
        path.write_text(f"{path.read_text(encoding='utf-8')}degrade: {{restart_mb: {limit_mb}}}\n", encoding="utf-8")
        running.wait_for("RELOADING=1")
        running.wait_for("READY=1")
        mischief.write_text("leak", encoding="ascii")
        assert "restarting: memory" in running.wait_for("STOPPING=1", 60)
        mischief.write_text("good", encoding="ascii")

        # It published the reason and ended all open events.
        running.until(lambda: unended(running.messages()) == set())
        events = running.messages()
        (began,) = (event for event in events if event["type"] == "new" and event["value"].get("fault") == "memory")
        assert began["value"]["limit_mb"] == limit_mb < began["value"]["resident_mb"]
        assert began["value"]["does"] == "restart"
        assert events[-1]["type"] == "end"

        # The same PID is ready again, works, and uses little memory again.
        running.wait_for("READY=1")
        assert running.process.poll() is None
        running.until(lambda: running.messages()[len(events) :])
        again = running.messages()[len(events)]
        assert (again["type"], again["rule"]) == ("new", "camera")
        assert status_socket.request_status(tmp_path / "state")["uptime_s"] < 30
        running.until(lambda: resident_mb(running.process.pid) < limit_mb - GROWTH_MB / 2)
        assert running.errors().count("; restarting") == 1
        assert running.stop(signal.SIGTERM) < 3
        assert running.process.returncode == 0
