"""What an attacker on the broker costs: frames per second with commands, relative to none.

    python -m edge_app.bench.command_flood [flood | limit | persist] [ROUNDS]

flood: 1,000 commands a second, after which the sink subscribes to none for a minute. limit: as many as it reads without
doing so; the rate limit lets 2 a second pass, and each of these changes the configuration. persist: each of these is
also stored in config.yaml, and the daemon loads the file.
The daemon runs on core 0; the broker, the attacker and this process on core 1. Each round is a slice without the
attack and one with it. The camera always has a next frame, so that lost time shows as lost frames.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from edge_app.bench.mosquitto import Mosquitto
from edge_app.daemon.status_socket import request_status

_SLICE_S = 10.0
_ROUNDS = 6
_WARM_S = 8.0
_MODEL = Path(__file__).parents[2] / "models" / "digits"
_TEXT = """
device: {{id: cam, state_dir: state}}
source: {{type: synthetic, width: 640, height: 480, pace: fast}}
model: {{path: {model}}}
heads: {{scene: {{}}, digits: {{}}}}
rules: [{{name: all, type: count, head: digits}}]
publish: {{results: none, status_every_s: 1}}
degrade: {{enabled: false}}
sinks: [{{type: mqtt, host: 127.0.0.1, port: {port}, commands: true}}]
"""
_COMMANDS = (
    ("rules/all", b"OFF"), ("rules/all", b"ON"), ("heads/scene", b"OFF"), ("heads/digits/score", b"0.5"),
    ("heads/digits/score", b'{"value": 0.4, "id": "1"}'), ("mute", b"0"), ("rules/none", b"ON"), ("restart", b"{"),
    ("snapshot", b"\xff"), ("detect", b"ON"), ("x" * 200, b"[" * 500), ("rules/all", b"ON" * 400),
)  # fmt: skip
_SCORES = (("heads/digits/score", b"0.5"), ("heads/digits/score", b"0.4"))
_STORED = tuple((name, b'{"value": %b, "persist": true}' % value) for name, value in _SCORES)


@dataclass(frozen=True, slots=True)
class Attack:
    """per_s: commands per second, drawn from `commands`. retained: the share that is sent as retained."""

    per_s: float
    commands: tuple[tuple[str, bytes], ...]
    retained: float = 0.0


ATTACKS = {
    "flood": Attack(1000, _COMMANDS, 0.02),
    "limit": Attack(18, _SCORES),  # of 50 bytes: just below the 1,024 bytes a second that end the subscription
    "persist": Attack(10, _STORED),
}


@dataclass(frozen=True, slots=True)
class Report:
    """fps: frames per second, median of the slices. ratio: with / without the attack, median of the rounds.

    cpu_ratio: the same of frames per second of the daemon's CPU time, which other programs on core 0 change less.
    sent: commands of the attacker. answers: of the daemon. executed: those of them without an error.
    """

    fps_without: float
    fps_with: float
    ratio: float
    cpu_ratio: float
    sent: int
    answers: int
    executed: int


def bench(rounds: int = _ROUNDS, slice_s: float = _SLICE_S, attack: Attack = ATTACKS["flood"]) -> Report:
    """Measure. Raises ConfigError if Mosquitto is not installed."""
    os.sched_setaffinity(0, {1})  # the broker inherits it
    with tempfile.TemporaryDirectory(prefix="bench-flood-") as name, Mosquitto(Path(name)) as broker:
        (Path(name) / "config.yaml").write_text(_TEXT.format(model=_MODEL, port=broker.port), encoding="utf-8")
        answers: list[bytes] = []
        client = _connect(broker.port, answers)
        command = [sys.executable, "-m", "edge_app", "run", "--config", f"{name}/config.yaml"]
        pinned = ["taskset", "-c", "0", *command]
        with subprocess.Popen(pinned, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            try:
                state = Path(name) / "state"
                slices = partial(_attack, client, attack, slice_s)
                report = _measure(slices, state, daemon.pid, answers, rounds=rounds, slice_s=slice_s)
            finally:
                daemon.terminate()
                daemon.wait(10)
        client.disconnect()
        client.loop_stop()
    return report


def _measure(
    attacked_slice: Callable[[], int], folder: Path, pid: int, answers: list[bytes], *, rounds: int, slice_s: float
) -> Report:
    """folder: state_dir of the daemon. pid: of the daemon."""
    time.sleep(_WARM_S)
    fps: tuple[list[float], list[float]] = [], []
    per_cpu_s: tuple[list[float], list[float]] = [], []
    sent = 0
    for _ in range(rounds):
        for attacked in (False, True):
            before, cpu_s, began = request_status(folder)["frames"], _cpu_s(pid), time.monotonic()
            if attacked:
                sent += attacked_slice()
            else:
                time.sleep(slice_s)
            frames = request_status(folder)["frames"] - before
            fps[attacked].append(frames / (time.monotonic() - began))
            per_cpu_s[attacked].append(frames / (_cpu_s(pid) - cpu_s))
    ratio, cpu_ratio = (median(under / free for free, under in zip(*found)) for found in (fps, per_cpu_s))
    executed = sum(bool(json.loads(answer)["ok"]) for answer in answers)
    return Report(median(fps[0]), median(fps[1]), ratio, cpu_ratio, sent, len(answers), executed)


def _cpu_s(pid: int) -> float:
    """The CPU time of a process."""
    import psutil

    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _attack(client: Any, attack: Attack, seconds: float) -> int:
    """Send commands evenly. Returns their number."""
    rng = random.Random(17)
    began, sent = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        for _ in range(round(passed * attack.per_s) - sent):
            name, payload = rng.choice(attack.commands)
            client.publish(f"edge-app/cam/set/camera/{name}", payload, 0, retain=rng.random() < attack.retained)
            sent += 1
        time.sleep(0.005)
    return sent


def _connect(port: int, answers: list[bytes]) -> Any:
    import paho.mqtt.client as paho

    versions = getattr(paho, "CallbackAPIVersion", None)
    client: Any = paho.Client(*([versions.VERSION2] if versions else []))

    client.on_message = lambda _client, _userdata, message: answers.append(message.payload)
    client.connect("127.0.0.1", port)
    client.subscribe("edge-app/cam/answer", 1)
    client.loop_start()
    return client


def main() -> None:
    names = [argument for argument in sys.argv[1:] if argument in ATTACKS]
    numbers = [int(argument) for argument in sys.argv[1:] if argument.isdecimal()]
    report = bench(numbers[0] if numbers else _ROUNDS, attack=ATTACKS[names[0] if names else "flood"])
    print(f"frames per second: {report.fps_without:.1f} without, {report.fps_with:.1f} with the attack")
    print(f"ratio {report.ratio:.3f}; by CPU time {report.cpu_ratio:.3f}")
    print(f"{report.sent} commands sent, {report.answers} answers, {report.executed} executed")


if __name__ == "__main__":
    main()
