"""Events that were open when a process died end at the next start, at every point at which it can die."""

from __future__ import annotations

import json
import time

import pytest

from edge_app.clock import SystemClock
from edge_app.config import OutboxConfig, load
from edge_app.frame import Event
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox
from edge_app.outbox.event_log import FILE, EventLog
from edge_app.publish.open_events import end_left_open
from edge_app.publish.publisher import Publisher

S = 10**9


class AnotherBoot(SystemClock):
    boot_id = "another"


class Device:
    """A folder with an outbox and a log of open events. `die` abandons both, as a kill does."""

    def __init__(self, folder, clock=None):
        self.clock = clock or SystemClock()
        self.encoder = Encoder("cam", self.clock.boot_id, {})
        self.outbox = Outbox(folder, ["a"], OutboxConfig(), self.clock, self._gap)
        self.log = EventLog(folder / FILE)
        self.outbox.watch(self.log.settle)

    def _gap(self, number, gap):
        return self.encoder.status(number, Stamp(0, 0, False), {"gap": gap})

    def make(self, type_, number, event_id="door-1"):
        now = self.clock.monotonic_ns(), self.clock.utc_ns()
        end = (None, None) if type_ == "new" else now
        event = Event(type_, event_id, "door", "zone", *now, *end, {"label": "person"})
        return self.encoder.event(number, event, Stamp(*now, True), "yard")

    def put(self, type_, event_id="door-1"):
        self.outbox.put(lambda number: self.log.record(self.make(type_, number, event_id)))

    def pending(self):
        batch = self.outbox.next_batch("a", 100, 0.1)
        return [json.loads(item.message.payload) for item in batch if item.message.kind == "event"]

    def deliver(self):
        batch = self.outbox.next_batch("a", 100, 1)
        self.outbox.acknowledge("a", batch[-1].position, len(batch))
        return [json.loads(item.message.payload) for item in batch]

    def stop(self):
        self.outbox.close()
        self.log.close()


def left_behind(folder, *lines):
    """A log as a killed process leaves it."""
    log = EventLog(folder / FILE)
    for line in lines:
        log.record(line)
    log.close()


@pytest.fixture
def restart(tmp_path):
    devices = []

    def start(clock=None):
        devices.append(Device(tmp_path, clock))
        return devices[-1], end_left_open(devices[-1].log, devices[-1].outbox, devices[-1].clock)

    yield start
    for device in devices:
        device.stop()


def first_device(tmp_path):
    first = Device(tmp_path)
    new = first.make("new", 7)
    first.stop()
    return first, new


def test_killed_before_new_was_accepted_both_messages_are_published(restart, tmp_path):
    _, new = first_device(tmp_path)
    left_behind(tmp_path, new)
    device, ended = restart()
    assert ended == 1
    again, end = device.pending()
    assert (again["id"], again["type"]) == (new.id, "new")
    assert (end["event_id"], end["type"], end["value"]) == ("door-1", "end", {"label": "person", "reason": "restarted"})
    assert (end["source"], end["rule"], end["start"] <= end["end"]) == ("yard", "door", True)


def test_killed_after_new_was_delivered_only_the_end_is_published(restart, tmp_path):
    _, new = first_device(tmp_path)
    log = EventLog(tmp_path / FILE)
    log.settle(log.record(new))
    log.close()
    device, _ = restart()
    assert [message["type"] for message in device.pending()] == ["end"]


def test_killed_before_the_end_was_accepted_the_same_end_is_published(restart, tmp_path):
    first, new = first_device(tmp_path)
    end = first.make("end", 8)
    log = EventLog(tmp_path / FILE)
    log.settle(log.record(new))
    log.record(end)
    log.close()
    device, ended = restart()
    assert ended == 0
    assert [message["id"] for message in device.pending()] == [end.id]


def test_messages_are_put_again_in_the_order_in_which_they_were_made(restart, tmp_path):
    """Events overlap: the end of one comes after the new of the next. Compacting the log keeps the order."""
    first, new = first_device(tmp_path)
    made = [new, first.make("new", 8, "door-2"), first.make("end", 9), first.make("end", 10, "door-2")]
    for _ in range(2):
        left_behind(tmp_path, *made)  # the second time, the log is written again as a whole
    device, _ = restart()
    assert [message["id"] for message in device.pending()] == [message.id for message in made]


def test_what_precedes_a_gap_record_is_put_first(config_file, tmp_path):
    """The process before has lost its outbox file, and had an event open."""
    _, new = first_device(tmp_path)
    left_behind(tmp_path, new)
    for path in tmp_path.glob("outbox.db*"):
        path.unlink()
    text = f"""
device: {{state_dir: {tmp_path}}}
source: {{type: synthetic}}
model: {{path: PROJECT/models/digits}}
sinks: [{{type: jsonl, path: {tmp_path}/out}}]
"""
    config = load(config_file(text))
    publisher = Publisher(config, SystemClock(), "cam", {}, durable=True)
    end_s = time.monotonic() + 5
    while publisher.stats().sinks[0].sent < 3 and time.monotonic() < end_s:
        time.sleep(0.01)
    publisher.close()
    messages = [json.loads(line) for line in (tmp_path / "out").read_bytes().splitlines()]
    assert [message["kind"] for message in messages] == ["event", "event", "status"]
    assert messages[0]["id"] == new.id
    assert messages[2]["status"]["gap"]["reasons"] == ["outbox file missing"]


def test_killed_while_it_ends_events_the_next_start_repeats_the_same_messages(restart, tmp_path):
    _, new = first_device(tmp_path)
    left_behind(tmp_path, new)
    device = Device(tmp_path)
    device.outbox.watch(lambda _: None)  # killed before the outbox has stored anything
    end_left_open(device.log, device.outbox, device.clock)
    ids, log = [message["id"] for message in device.pending()], (tmp_path / FILE).read_bytes()
    device.stop()
    for path in tmp_path.glob("outbox.db*"):
        path.unlink()
    (tmp_path / FILE).write_bytes(log)
    device, ended = restart()
    assert ended == 0
    assert [message["id"] for message in device.pending()] == ids


def test_what_the_outbox_has_stored_is_not_put_again(restart, tmp_path):
    first = Device(tmp_path)
    first.put("new")
    first.outbox.watch(lambda _: None)  # killed after the commit, before the log heard of it
    first.stop()
    device, ended = restart()
    messages = device.pending()
    assert ended == 1
    assert [message["type"] for message in messages] == ["new", "end"]


def test_a_stopped_process_leaves_nothing(restart, tmp_path):
    first = Device(tmp_path)
    for type_ in ("new", "end"):
        first.put(type_)
    first.deliver()
    first.stop()
    assert not (tmp_path / FILE).exists()
    assert restart()[1] == 0


def test_after_a_reboot_an_event_ends_when_the_device_was_last_known_to_run(restart, tmp_path):
    first, new = first_device(tmp_path)
    time.sleep(0.05)
    later = first.make("new", 8, "door-2")
    left_behind(tmp_path, new, later)
    device, ended = restart(AnotherBoot())
    assert ended == 2
    ends = [message for message in device.pending() if message["type"] == "end"]
    latest = json.loads(later.payload)
    assert {(end["boot_id"], end["utc"], end["end"]) for end in ends} == {
        (latest["boot_id"], latest["utc"], latest["utc"])
    }
