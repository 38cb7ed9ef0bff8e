"""Cameras without a pipeline: outbox and MQTT sink as in `run`. Prints the number of messages once all are delivered.

python -m tests.system.publishing_cameras FOLDER PORT FIRST COUNT MESSAGES SECONDS
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from edge_app.bench.outbox_load import Camera

DELIVERY_S = 240.0


def main(folder: Path, port: int, first: int, count: int, messages: int, seconds: float) -> int:
    cameras = [Camera(folder / f"cam-{first + n}", port, f"cam-{first + n}") for n in range(count)]
    for camera in cameras:
        camera.delivery.start()
    began = time.monotonic()
    for number in range(messages * count):
        time.sleep(max(0.0, began + number / (messages * count) * seconds - time.monotonic()))
        cameras[number % count].put_result()
    end = time.monotonic() + DELIVERY_S
    while any(camera.outbox.stats().queued["mqtt"] for camera in cameras):
        assert time.monotonic() < end, "not delivered"
        time.sleep(0.2)
    for camera in cameras:
        camera.close()
    return messages * count


if __name__ == "__main__":
    print(main(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:])))
