"""The cost of `edge-app run`: CPU time on a still scene, memory with and without a viewer of the page.

Camera: made pictures of 640x480 at 10 a second. Debian package: mosquitto.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.running import Running, free_port
from tests.system.test_web_load import end, viewers

pytest.importorskip("aiohttp", reason="needs the extra web")

pytestmark = [
    pytest.mark.system,
    pytest.mark.alone,
    pytest.mark.skipif(not shutil.which("mosquitto"), reason="needs the Debian package mosquitto"),
]

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 640, height: 480, fps: 10, live: true, SCENE}
model: {path: PROJECT/models/digits, backend: onnx}
track: {head: digits, mix_classes: true}
rules: [{name: meter, type: reading, heads: [digits, panel]}]
publish: {results: WHICH, status_every_s: 10}
sinks: [{type: mqtt, host: 127.0.0.1, port: BROKER}]
"""
SETTLES_S = 8.0
MEASURED_S = 20.0


@pytest.fixture
def broker() -> Iterator[int]:
    port = free_port()
    process = subprocess.Popen(["mosquitto", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    process.kill()
    process.wait()


@contextmanager
def settled(path: Path) -> Iterator[Running]:
    """A daemon in steady state, whose sink has delivered."""
    with Running(path) as running:
        running.wait_for("READY=1")
        time.sleep(SETTLES_S)
        yield running
        assert "camera running" in running.wait_for("STATUS=")
        assert "mqtt" not in running.errors(), "the broker was there"


def cpu_s(process: int) -> float:
    """CPU time so far, of all threads."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(process: int) -> float:
    """The peak resident memory within a few seconds."""
    most = 0
    for _ in range(25):
        most = max(most, int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]))
        time.sleep(0.2)
    return most * os.sysconf("SC_PAGE_SIZE") / 1e6


def share_of_a_core(path: Path) -> float:
    with settled(path) as running:
        before_s, began_s = cpu_s(running.process.pid), time.monotonic()
        time.sleep(MEASURED_S)
        return (cpu_s(running.process.pid) - before_s) / (time.monotonic() - began_s)


def test_a_still_scene_takes_at_most_six_percent_of_a_core(config_file, broker):
    text = TEXT.replace("SCENE", "freeze_at: 0").replace("WHICH", "on_change").replace("BROKER", str(broker))
    off = share_of_a_core(config_file(text))
    reused = share_of_a_core(config_file(f"{text}reuse: {{mode: auto}}\n"))
    print(f"\nstill scene, 10 frames/s: {100 * reused:.1f} % of a core; reuse off: {100 * off:.1f} %")
    assert reused <= 0.06
    assert reused < off


def test_memory_is_bounded_without_and_with_a_viewer(config_file, broker):
    text = TEXT.replace("SCENE", "noise: 2").replace("WHICH", "all").replace("BROKER", str(broker))
    text += "reuse: {mode: auto}\n"  # as in config.yaml: loads the segments in addition to the fused graph
    with settled(config_file(text)) as running:
        alone_mb = resident_mb(running.process.pid)
    port = free_port()
    with settled(config_file(f"{text}web: {{enabled: true, port: {port}}}\n")) as running:
        looking = viewers(port, 1)
        time.sleep(SETTLES_S)
        viewed_mb = resident_mb(running.process.pid)
        end(looking)
    print(f"\n{json.dumps({'page off, MB': round(alone_mb, 1), 'page on, one viewer, MB': round(viewed_mb, 1)})}")
    assert alone_mb <= 120
    assert viewed_mb <= 160
