"""One measured process of `bench outbox`: publishes or drains, and prints its figures as one JSON object.

    python -m edge_app.bench.outbox_load publish|drain|peer FOLDER PORT COUNT [RATE]

`publish`: publish COUNT results of 300 B at RATE per second to PORT, where a broker may listen or not; then close.
`drain`: fill an outbox with COUNT messages, then time their delivery. `peer`: the same with persist-queue and paho.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.backoff import UPSTREAM, Backoff
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.frame import Detections, Frame, HeadOutput
from edge_app.messages import Encoder, Message, Stamp
from edge_app.outbox import Outbox
from edge_app.outbox.store import GapRecord
from edge_app.publish.delivery import Delivery
from edge_app.sinks import SinkContext
from edge_app.sinks.mqtt import Sink

_WINDOW = 100  # unacknowledged messages
_RESULT_BYTES = 300


class Camera:
    """An outbox with one MQTT sink, as in `edge-app run`, without a pipeline."""

    def __init__(self, folder: Path, port: int, name: str = "bench-1", backoff: Backoff | None = None) -> None:
        self.clock = SystemClock()
        self.encoder = Encoder(name, self.clock.boot_id, {"digits": tuple("0123456789")})
        self.outbox = Outbox(folder, ["mqtt"], Limits(max_mb=512, max_memory_mb=64), self.clock, self._gap)
        sink = Sink(SinkContext(name, "mqtt", self.clock), host="127.0.0.1", port=port)
        rng = random.Random(name)
        self.delivery = Delivery("mqtt", sink, self.outbox, self.clock, backoff=backoff or UPSTREAM, rng=rng)

    def put_result(self) -> None:
        """Queue a message of about 300 B, the size of the result of a frame with one detection."""
        self.outbox.put(lambda seq: result(self.encoder, seq, self.clock))

    def close(self) -> None:
        self.delivery.stop()
        self.outbox.stop_waiting()
        self.delivery.join(10)
        self.outbox.close()

    def _gap(self, number: int, tally: GapRecord) -> Message:
        stamp = Stamp(self.clock.monotonic_ns(), self.clock.utc_ns(), self.clock.synced())
        return self.encoder.status(number, stamp, {"gap": tally})


def frame(sequence: int, clock: SystemClock, detections: int = 1) -> Frame:
    """A frame with detections of the head `digits`; its pixels are not used."""
    boxes = np.linspace(10, 200, detections * 4, dtype=np.float32).reshape(detections, 4)
    boxes[:, 2:] += 300 + sequence % 7
    result = Detections(boxes, np.full(detections, 0.9, np.float32), np.arange(detections, dtype=np.int32) % 10)
    pixels = np.zeros((480, 640, 3), np.uint8)
    return Frame("camera", sequence, clock.monotonic_ns(), clock.utc_ns(), pixels, heads={"digits": HeadOutput(result)})


def result(encoder: Encoder, seq: int, clock: SystemClock) -> Message:
    """A result message of about _RESULT_BYTES."""
    stamp = Stamp(clock.monotonic_ns(), clock.utc_ns(), True)
    short = encoder.status(seq, stamp, {"pad": ""})
    padded = encoder.status(seq, stamp, {"pad": "x" * (_RESULT_BYTES - len(short.payload))})
    return Message(
        padded.id,
        seq,
        "result",
        padded.monotonic_ns,
        padded.utc_ns,
        True,
        padded.payload.replace(b'"kind":"status"', b'"kind":"result"', 1),
    )


def written_bytes() -> int:
    """Bytes that this process has passed to write calls; a socket's send is not counted. Linux."""
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="ascii").splitlines())
    return int(fields["wchar"])


def publish(folder: Path, port: int, count: int, rate: float) -> dict[str, float]:
    """Publish at a steady rate. Bytes written while opening are not counted, those while closing are."""
    camera = Camera(folder, port)
    camera.delivery.start()
    time.sleep(1.0)  # until it is connected, if there is a broker
    before, started = written_bytes(), time.monotonic()
    for n in range(count):
        camera.put_result()
        time.sleep(max(0.0, started + (n + 1) / rate - time.monotonic()))
    figures = _figures(count, started)
    camera.close()
    return {**figures, "bytes": written_bytes() - before}


def drain(folder: Path, port: int, count: int) -> dict[str, float]:
    """Deliver from the disk to the broker."""
    camera = Camera(folder, port)
    for _ in range(count):
        camera.put_result()
    _wait(lambda: camera.outbox.stats().in_memory == 0)
    started = time.monotonic()
    camera.delivery.start()
    _wait(lambda: camera.outbox.stats().queued["mqtt"] == 0)
    figures = _figures(count, started)
    camera.close()
    return figures


def peer(folder: Path, port: int, count: int) -> dict[str, float]:
    """Deliver from persist-queue's SQLite queue, used as in its README, through paho with the same QoS 1 window."""
    import paho.mqtt.client as paho
    from persistqueue import FIFOSQLiteQueue

    camera_clock = SystemClock()
    encoder = Encoder("bench-1", camera_clock.boot_id, {})
    queue: Any = FIFOSQLiteQueue(path=str(folder), auto_commit=False, multithreading=True)
    for seq in range(count):
        queue.put(result(encoder, seq, camera_clock).payload)
    queue.task_done()
    queue.close()
    queue = FIFOSQLiteQueue(path=str(folder), auto_commit=True, multithreading=True)
    versions = getattr(paho, "CallbackAPIVersion", None)
    client: Any = paho.Client(*([versions.VERSION2] if versions else []))
    client.max_inflight_messages_set(_WINDOW)
    acked = [0]

    def on_publish(*_: object) -> None:
        acked[0] += 1

    client.on_publish = on_publish
    client.connect("127.0.0.1", port)
    client.loop_start()
    started = time.monotonic()
    for n in range(count):
        while n - acked[0] >= _WINDOW:
            time.sleep(0.0005)
        client.publish("edge-app/bench-1/result", queue.get(), qos=1)
    _wait(lambda: acked[0] >= count)
    figures = _figures(count, started)
    client.disconnect()
    client.loop_stop()
    queue.close()
    return figures


def _figures(count: int, started_s: float) -> dict[str, float]:
    """from, to: UNIX seconds; bench outbox counts the syncs between them."""
    seconds, now_s = time.monotonic() - started_s, time.time()
    return {"messages": count, "seconds": seconds, "from": now_s - seconds, "to": now_s}


def _wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.002)


def main(mode: str, folder: str, port: str, count: str, rate: str = "5") -> None:
    if mode == "publish":
        figures = publish(Path(folder), int(port), int(count), float(rate))
    else:
        figures = {"drain": drain, "peer": peer}[mode](Path(folder), int(port), int(count))
    print(json.dumps(figures))


if __name__ == "__main__":
    main(*sys.argv[1:])
