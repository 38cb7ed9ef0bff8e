"""What the tests of the outbox share: boxes on a folder, messages to put in, and what comes out."""

import json
import sqlite3
import time

import pytest

from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig as Limits
from edge_app.messages import Encoder, Stamp, decode
from edge_app.outbox import Outbox

DEVICE = "cam-1"


class Maker:
    """Makes messages of a kind as the publisher does."""

    def __init__(self, device=DEVICE, clock=None):
        self.clock = clock or SystemClock()
        self.encoder = Encoder(device, self.clock.boot_id, {})

    def gap(self, seq, tally):
        return self.encoder.status(seq, self.stamp(), {"gap": tally})

    def stamp(self):
        return Stamp(self.clock.monotonic_ns(), self.clock.utc_ns(), self.clock.synced())

    def status(self, size=200, n=0):
        return lambda seq: self.encoder.status(seq, self.stamp(), {"n": n, "pad": "x" * size})

    def of(self, kind, size=200, n=0):
        def make(seq):
            message = self.encoder.status(seq, self.stamp(), {"n": n, "pad": "x" * size})
            payload = message.payload.replace(b'"kind":"status"', b'"kind":"%s"' % kind.encode(), 1)
            return decode(payload)

        return make


@pytest.fixture
def maker():
    return Maker()


@pytest.fixture
def open_box(tmp_path, maker):
    """Opens outboxes on one folder; closes what the test leaves open."""
    opened = []

    def open_(*sinks, folder=tmp_path / "state", **limits):
        box = Outbox(folder, sinks or ("a",), Limits(**limits), maker.clock, maker.gap)
        opened.append(box)
        return box

    yield open_
    for box in opened:
        box.close()


def numbers(items):
    return [json.loads(item.message.payload)["status"].get("n") for item in items]


def take_all(box, sink="a", limit=100):
    """Deliver everything that is there to a sink."""
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


def take_with_gap(box):
    """Everything, until a gap record has come."""
    got = []
    until(lambda: got.extend(take_all(box)) or None in numbers(got))
    return got


def rows_on_disk(folder):
    with sqlite3.connect(f"file:{folder / 'outbox.db'}?mode=ro", uri=True) as db:
        return db.execute("SELECT count(*) FROM messages").fetchone()[0]
