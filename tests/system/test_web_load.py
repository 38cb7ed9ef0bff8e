"""The cost of viewers and attackers: frames per second with and without them, interleaved in one run."""

from __future__ import annotations

import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from edge_app.daemon import status_socket
from tests.running import Running, free_port

pytest.importorskip("aiohttp", reason="needs the extra web")
pytest.importorskip("prometheus_client", reason="needs the extra web")

pytestmark = [pytest.mark.system, pytest.mark.alone]

TEXT = """
device: {id: cam, state_dir: state}
source: {type: video, path: PROJECT/models/digits/sample.mp4, pace: realtime}
model: {path: PROJECT/models/digits, backend: onnx}
publish: {results: all, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
web: {enabled: true, port: WEB, fps: 10}
"""
VIEWER = """
import asyncio, sys, aiohttp
async def look():
    async with aiohttp.ClientSession() as session, session.ws_connect(sys.argv[1]) as live:
        print("looking", flush=True)
        async for _ in live:
            pass
asyncio.run(look())
"""
SLICE_S = 3.0
ROUNDS = 5


@pytest.fixture
def port() -> int:
    return free_port()


def full_speed(config_file, port: int) -> Path:
    """A camera that always has a next frame, so that lost time shows as lost frames."""
    text = TEXT.replace("WEB", str(port)).replace(
        "{type: video, path: PROJECT/models/digits/sample.mp4, pace: realtime}",
        "{type: synthetic, width: 640, height: 480, pace: fast}",
    )
    return config_file(text)


def frames_a_second(folder: Path) -> float:
    before, began = status_socket.request_status(folder)["frames"], time.monotonic()
    time.sleep(SLICE_S)
    return (status_socket.request_status(folder)["frames"] - before) / (time.monotonic() - began)


def viewers(port: int, count: int) -> list[subprocess.Popen]:
    command = [sys.executable, "-c", VIEWER, f"http://127.0.0.1:{port}/api/live"]
    started = [subprocess.Popen(["nice", "-n", "19", *command], stdout=subprocess.PIPE) for _ in range(count)]
    for viewer in started:
        assert viewer.stdout is not None
        viewer.stdout.readline()
    return started


def end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        process.stdout.close()


def test_two_viewers_slow_the_pipeline_by_at_most_5_percent(config_file, port):
    """At full speed: at the rate of a camera a small cost would not show."""
    with Running(full_speed(config_file, port)) as running:
        running.wait_for("READY=1")
        folder = running.folder / "state"
        ratios = []
        for _ in range(ROUNDS):
            alone = frames_a_second(folder)
            looking = viewers(port, 2)
            ratios.append(frames_a_second(folder) / alone)
            end(looking)
        print(f"\ntwo viewers: {statistics.median(ratios):.3f} of the frame rate without; {ratios}")
        assert statistics.median(ratios) >= 0.95


def test_attackers_do_not_slow_a_camera(config_file, port):
    """200 slow connections and a stream of wrong logins, oversized and odd requests against a camera of 10 frames/s."""
    with Running(config_file(TEXT.replace("WEB", str(port)))) as running:
        running.wait_for("READY=1")
        folder = running.folder / "state"
        time.sleep(SLICE_S)  # wait for frames delayed by the start
        alone = frames_a_second(folder)
        done = threading.Event()
        attackers = [threading.Thread(target=attack, args=(port, done, kind)) for kind in range(3)]
        for attacker in attackers:
            attacker.start()
        meanwhile = frames_a_second(folder)
        latency_s = status_socket.request_status(folder)["latency_s"]
        done.set()
        for attacker in attackers:
            attacker.join()
        print(f"\nunder attack {meanwhile:.2f} frames/s, without {alone:.2f}; latency {latency_s} s")
        assert meanwhile >= 0.95 * alone
        running.until(lambda: status_socket.request_status(folder)["stuck"] is None)
        assert "Traceback" not in running.errors()


def attack(port: int, done: threading.Event, kind: int) -> None:
    requests = (
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nguess",
        b"POST /api/login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 8192,
    )
    held: list[socket.socket] = []
    while not done.wait(0.005):
        with contextlib.suppress(OSError):
            connection = socket.create_connection(("127.0.0.1", port), timeout=2)
            held.append(connection)
            if kind == 2:
                connection.sendall(b"GET / HTTP/1.1\r\n")
            else:
                connection.sendall(requests[kind])
                connection.recv(4096)
                held.pop().close()
        while len(held) > 200:
            held.pop(0).close()
    for connection in held:
        connection.close()
