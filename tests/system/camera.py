"""A camera that publishes until it is killed, and logs what it did: run by test_delivery.py.

    python camera.py STATE_FOLDER PORT LOG FIRST_NUMBER

Log lines, one write each: `start N`, `put N SEQ KIND MONOTONIC_S`, and `kept N`: everything that this process has put,
up to N, was then on disk or delivered. To know that, it stops for a moment after every 25 messages.
FIRST_NUMBER -1: publish nothing, deliver what is there, end.
"""

import os
import random
import sys
import time
from pathlib import Path

from edge_app.backoff import Backoff
from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Encoder, Stamp, decode
from edge_app.outbox import Outbox
from edge_app.publish.delivery import Delivery
from edge_app.sinks import SinkContext
from edge_app.sinks.mqtt import Sink


def main(folder, port, log_file, first):
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    clock = SystemClock()
    encoder = Encoder("cam-1", clock.boot_id, {})

    def message(seq, n, kind):
        payload = encoder.status(seq, Stamp(n, n, True), {"n": n}).payload
        if kind == "event":
            payload = payload.replace(b'"kind":"status"', b'"kind":"event","rule":"door"')
        os.write(log, f"put {n} {seq} {kind} {time.monotonic()}\n".encode())
        return decode(payload)

    def gap(seq, tally):
        return encoder.status(seq, Stamp(0, 0, True), {"gap": tally})

    box = Outbox(Path(folder), ["mqtt"], Limits(), clock, gap)
    sink = Sink(SinkContext("cam-1", "mqtt", clock), host="127.0.0.1", port=port, ack_timeout_s=2)
    delivery = Delivery("mqtt", sink, box, clock, backoff=Backoff(0.05, 0.5), rng=random.Random())
    delivery.start()
    os.write(log, f"start {first}\n".encode())
    n = first
    while first >= 0:
        kind = "event" if n % 5 == 0 else "status"
        box.put(lambda seq, n=n, kind=kind: message(seq, n, kind))
        if n % 25 == 24:
            while box.stats().in_memory:
                time.sleep(0.001)
            os.write(log, f"kept {n}\n".encode())
        n += 1
        time.sleep(0.01)
    while box.stats().queued["mqtt"]:
        time.sleep(0.05)
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), sys.argv[3], int(sys.argv[4]))
