"""bench outbox --cameras N: lost messages and delivery latency of many cameras that publish to one Mosquitto broker.

A camera is an outbox with an MQTT sink; one process runs 50 of them. Latency is measured on one machine, from the
message's monotonic time stamp to its arrival at a subscriber.

    python -m edge_app.bench.fleet FOLDER PORT FIRST COUNT SECONDS        one such process
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

from edge_app.bench import tables
from edge_app.bench.mosquitto import Mosquitto
from edge_app.bench.outbox_load import Camera

_RATE = 5  # messages per second and camera
_CAMERAS_PER_PROCESS = 50
_CONNECT_S = 8.0  # until every camera has connected; before that the broker is busy with connections
_GRACE_S = 10.0  # for messages that are still on their way when publishing ends


@dataclass(frozen=True, slots=True)
class Report:
    """lost: published, never arrived. twice: arrivals with a known id. *_ms: from publishing to arrival."""

    cameras: int
    seconds: int
    published: int
    lost: int
    twice: int
    out_of_order: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


def bench(cameras: int, seconds: int) -> Report:
    """Measure. Raises ConfigError if Mosquitto is not installed."""
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-fleet-") as name, Mosquitto(Path(name)) as broker:
        arrivals: list[tuple[int, bytes]] = []
        client = _subscribe(broker.port, arrivals)
        firsts = range(0, cameras, _CAMERAS_PER_PROCESS)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, name, str(broker.port), str(first),
                 str(min(_CAMERAS_PER_PROCESS, cameras - first)), str(seconds)],
                stdout=subprocess.PIPE, text=True,
            )
            for first in firsts
        ]  # fmt: skip
        published = sum(int(process.communicate()[0]) for process in processes)
        end = time.monotonic() + _GRACE_S
        while len(arrivals) < published and time.monotonic() < end:
            time.sleep(0.1)
        client.disconnect()
        client.loop_stop()
    return _evaluate(arrivals, published, cameras, seconds)


def as_json(report: Report) -> str:
    return tables.field_json(report)


def as_table(report: Report) -> str:
    return tables.field_table(report)


def _subscribe(port: int, arrivals: list[tuple[int, bytes]]) -> Any:
    import paho.mqtt.client as paho

    versions = getattr(paho, "CallbackAPIVersion", None)
    client: Any = paho.Client(*([versions.VERSION2] if versions else []))

    def on_message(_client: object, _userdata: object, message: Any) -> None:
        arrivals.append((time.clock_gettime_ns(time.CLOCK_BOOTTIME), message.payload))

    client.on_message = on_message
    client.connect("127.0.0.1", port)
    client.subscribe("edge-app/+/result", 1)
    client.loop_start()
    return client


def _evaluate(arrivals: list[tuple[int, bytes]], published: int, cameras: int, seconds: int) -> Report:
    last: dict[str, int] = {}
    ids: set[str] = set()
    out_of_order = 0
    times_ms = []
    for at_ns, payload in arrivals:
        body = json.loads(payload)
        if body["id"] in ids:
            continue
        ids.add(body["id"])
        out_of_order += body["seq"] < last.get(body["device"], 0)
        last[body["device"]] = body["seq"]
        times_ms.append((at_ns - body["monotonic_ns"]) / 1e6)
    cuts = quantiles(times_ms, n=100)
    return Report(
        cameras=cameras,
        seconds=seconds,
        published=published,
        lost=published - len(ids),
        twice=len(arrivals) - len(ids),
        out_of_order=out_of_order,
        p50_ms=round(cuts[49], 1),
        p99_ms=round(cuts[98], 1),
        worst_ms=round(max(times_ms), 1),
    )


def run_cameras(folder: Path, port: int, first: int, count: int, seconds: int) -> int:
    """Publish from `count` cameras, evenly spread over time. Returns the number of messages."""
    cameras = [Camera(folder / f"camera-{first + n}", port, f"camera-{first + n}") for n in range(count)]
    for camera in cameras:
        camera.delivery.start()
    time.sleep(_CONNECT_S)
    published = 0
    started = time.monotonic()
    while published < count * _RATE * seconds:
        time.sleep(max(0.0, started + published / (count * _RATE) - time.monotonic()))
        cameras[published % count].put_result()
        published += 1
    for camera in cameras:
        camera.close()
    return published


if __name__ == "__main__":
    print(run_cameras(Path(sys.argv[1]), *(int(argument) for argument in sys.argv[2:])))
