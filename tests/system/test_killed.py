"""A daemon that is killed at any moment while events begin and end: every event ends exactly once.

20 kills take about a minute; `pytest -m long` kills 200 times.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.running import Running

CONFIG = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 64, height: 64, fps: 40}
model: {path: PROJECT/models/digits, backend: onnx}
heads: {scene: {every_s: 3600}}
rules: [{name: plan, type: flicker, head: scene, seed: SEED}]
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl, max_mb: null}]
"""


def published(folder: Path) -> list[dict]:
    lines = (folder / "out.jsonl").read_bytes().split(b"\n")[:-1]
    return [message for message in map(json.loads, lines) if message["kind"] == "event"]


def judge(events: list[dict]) -> dict[str, int]:
    """Counts, after dropping messages with an id that was received before, as a consumer does."""
    once = list({event["id"]: event for event in events}.values())
    new = Counter(event["event_id"] for event in once if event["type"] == "new")
    end = Counter(event["event_id"] for event in once if event["type"] == "end")
    return {
        "events": len(new),
        "restarted": sum(event["type"] == "end" and event["value"]["reason"] == "restarted" for event in once),
        "repeated": len(events) - len(once),
        "never ended": len(new.keys() - end.keys()),
        "ended without a beginning": len(end.keys() - new.keys()),
        "began twice": sum(count > 1 for count in new.values()),
        "ended twice": sum(count > 1 for count in end.values()),
    }


@pytest.mark.parametrize(
    "kills",
    [pytest.param(20, marks=[pytest.mark.system, pytest.mark.alone]), pytest.param(200, marks=pytest.mark.long)],
)
def test_every_event_ends_exactly_once_however_often_the_daemon_is_killed(config_file, kills):
    rng = random.Random(kills)
    for number in range(kills):
        path = config_file(CONFIG.replace("SEED", str(number)))
        with Running(path) as running:
            if number % 4:
                running.wait_for("READY=1", 60)
                time.sleep(rng.uniform(0, 0.5))
            else:  # at any moment, also while it ends the events of the process before
                time.sleep(rng.uniform(0.5, 3))
            running.stop(signal.SIGKILL)
    with Running(config_file(CONFIG.replace("SEED", str(kills)))) as running:
        running.wait_for("READY=1", 60)
        running.stop(signal.SIGTERM)
        assert running.process.returncode == 0
    found = judge(published(path.parent))
    print(f"\n{kills} kills: {', '.join(f'{count} {name}' for name, count in found.items())}")
    assert found["events"] > kills
    assert found["restarted"] > kills / 2
    wrong = {name: found[name] for name in ("never ended", "ended without a beginning", "began twice", "ended twice")}
    assert not any(wrong.values()), wrong
    assert not (path.parent / "state" / "open-events.log").exists()
