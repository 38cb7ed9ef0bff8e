"""Fixtures for dialects: recorded messages, and messages of events and results."""

import json
from pathlib import Path

import pytest

from edge_app import dialects
from edge_app.messages import decode

RECORDED = Path(__file__).parent.parent / "messages" / "recorded-678fe16.jsonl"


def recorded():
    return [decode(line.encode()) for line in RECORDED.read_text(encoding="utf-8").splitlines()]


def make(name, images=None, source="gate"):
    """A dialect. images: by event id."""
    return dialects.build(name, dialects.DialectContext("cam-1", source, ({} if images is None else images).get))


class Script:
    """Makes messages in order, one second apart."""

    def __init__(self):
        self.seq = 0

    def _message(self, kind, **body):
        self.seq += 1
        utc = f"2026-11-26T12:00:{self.seq:02d}.500Z"
        envelope = {
            "schema": "edge-app/1",
            "kind": kind,
            "id": f"cam-1-{self.seq}",
            "device": "cam-1",
            "boot_id": "b",
            "seq": self.seq,
            "utc": utc,
            "monotonic_ns": self.seq * 10**9,
            "clock_synced": True,
            "source": "gate",
        }
        return decode(json.dumps({**envelope, **body}).encode())

    def event(self, type_, rule_type, event_id, value, rule="door"):
        utc = f"2026-11-26T12:00:{self.seq + 1:02d}.500Z"
        end = utc if type_ == "end" else None
        fields = {"type": type_, "event_id": event_id, "rule": rule, "rule_type": rule_type, "value": value}
        return self._message("event", start="2026-11-26T12:00:01.000Z", end=end, **fields)

    def result(self, detections, head="people"):
        heads = {head: {"detections": detections}}
        return self._message("result", frame=self.seq, resolution=[640, 480], heads=heads)


@pytest.fixture
def script():
    return Script()


def seen(track_id=7, label="person", score=0.9, **more):
    return {"label": label, "track_id": track_id, "score": score, "box": [0.25, 0.5, 0.5, 1.0], **more}
