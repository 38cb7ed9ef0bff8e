"""Outboxes on a folder, messages to put in, and reading them out again: shared with the tests of publishing."""

import json
import sqlite3
import time

import pytest

from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Encoder, Stamp, decode
from edge_app.outbox import Outbox

DEVICE = "cam-1"


class MessageFactory:
    """Functions for `Outbox.put`: each builds a message from its number."""

    def __init__(self, device=DEVICE, clock=None):
        self.clock = clock or SystemClock()
        self.encoder = Encoder(device, self.clock.boot_id, {})

    def gap(self, seq, gap):
        return self.encoder.status(seq, self.stamp(), {"gap": gap})

    def stamp(self):
        return Stamp(self.clock.monotonic_ns(), self.clock.utc_ns(), self.clock.synced())

    def status(self, size=200, n=0):
        return lambda seq: self.encoder.status(seq, self.stamp(), {"n": n, "pad": "x" * size})

    def of(self, kind, size=200, n=0):
        """A status message whose kind says otherwise: the outbox reads nothing else of it."""

        def make(seq):
            message = self.encoder.status(seq, self.stamp(), {"n": n, "pad": "x" * size})
            payload = message.payload.replace(b'"kind":"status"', b'"kind":"%s"' % kind.encode(), 1)
            return decode(payload)

        return make


@pytest.fixture
def factory():
    return MessageFactory()


@pytest.fixture
def open_box(tmp_path, factory):
    """Open outboxes on one folder; those that a test leaves open are closed."""
    opened = []

    def open_(*sinks, folder=tmp_path / "state", **limits):
        box = Outbox(folder, sinks or ("a",), Limits(**limits), factory.clock, factory.gap)
        opened.append(box)
        return box

    yield open_
    for box in opened:
        box.close()


def numbers(items):
    """The `n` of each message; None for a gap record."""
    return [json.loads(item.message.payload)["status"].get("n") for item in items]


def receive_all(box, sink="a", limit=100):
    """Read and acknowledge everything that is queued for a sink."""
    got = []
    while items := box.next_batch(sink, limit, 0.0):
        got += items
        box.acknowledge(sink, items[-1].position, len(items))
    return got


def until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def receive_until_gap(box, sink="a"):
    """Read and acknowledge until a gap record has arrived."""
    got = []
    until(lambda: got.extend(receive_all(box, sink)) or None in numbers(got))
    return got


def rows_on_disk(folder):
    with sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM messages").fetchone()[0]
