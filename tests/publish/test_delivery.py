"""Delivery from the outbox to a sink: order, retries, refused messages, corrected times."""

import json
import random
import time
from datetime import datetime

import pytest

from edge_app.backoff import Backoff
from edge_app.clock import SystemClock
from edge_app.errors import SinkError
from edge_app.frame import Event
from edge_app.messages import Encoder, Stamp, decode
from edge_app.publish.delivery import Delivery, corrected
from tests.outbox.boxes import DEVICE, MessageFactory, receive_all, receive_until_gap, until
from tests.schema import strict


class Flaky:
    """A sink that follows a plan: each entry is an error to raise, or how many messages arrive. bad: ids to refuse."""

    batch_limit = 8

    def __init__(self, plan=()):
        self.plan = list(plan)
        self.got = []
        self.bad = set()
        self.closed = 0

    def send(self, batch):
        step = self.plan.pop(0) if self.plan else len(batch)
        if isinstance(step, Exception):
            raise step
        for message in batch[:step]:
            if message.id in self.bad:
                raise SinkError("400 Bad Request", retry=False)
        self.got += [message.id for message in batch[:step]]
        return [message.id for message in batch[:step]]

    def idle(self):
        pass

    def close(self):
        self.closed += 1


class RefuseAll:
    """A set that has every id."""

    def __contains__(self, id_):
        return True


@pytest.fixture
def deliver(open_box, factory):
    started = []

    def start(box, name, sink, backoff=None):
        delivery = Delivery(
            name, sink, box, factory.clock, backoff=backoff or Backoff(0.01, 0.02), rng=random.Random(1)
        )
        delivery.start()
        started.append((box, delivery))
        return delivery

    yield start
    for box, delivery in started:
        delivery.stop()
        box.stop_waiting()
        delivery.join(5)


def test_a_failing_sink_gets_all_messages_in_order(open_box, factory, deliver):
    box = open_box()
    unreachable = SinkError("unreachable", retry=True)
    sink = Flaky([unreachable, 3, 0, unreachable, ValueError("a bug"), 1, unreachable])
    delivery = deliver(box, "a", sink)
    for n in range(40):
        box.put(factory.status(n=n))
    until(lambda: box.stats().queued["a"] == 0)
    seqs = [int(id_.rsplit("-", 1)[1]) for id_ in sink.got]
    assert seqs == list(range(seqs[0], seqs[0] + 40))
    assert delivery.failed == 5
    assert delivery.sent == 40


def test_refused_messages_are_isolated_and_the_others_delivered(open_box, factory, deliver):
    box = open_box()
    for n in range(20):
        box.put(factory.status(n=n))
    ids = [item.message.id for item in box.next_batch("a", 50, 0.0)]
    sink = Flaky()
    sink.bad = {ids[3], ids[11]}
    delivery = deliver(box, "a", sink)
    until(lambda: len(sink.got) == 19)
    *delivered, gap_id = sink.got
    assert delivered == [id_ for id_ in ids if id_ not in sink.bad]
    assert gap_id not in ids, "the gap record"
    assert delivery.refused == 2


def test_a_refused_message_is_reported_in_a_gap_record(open_box, factory, deliver):
    box = open_box("a", "b")
    box.put(factory.status(n=0))
    refusing = Flaky()
    refusing.bad = {box.next_batch("a", 1, 0.0)[0].message.id}
    (refused_id,) = refusing.bad
    deliver(box, "a", refusing)
    (gap,) = receive_until_gap(box, "b")[1:]
    record = json.loads(gap.message.payload)["status"]["gap"]
    assert record["lost"] == {"event": 0, "status": 1, "result": 0}
    assert record["reasons"] == ["refused by sink 'a': 400 Bad Request"]
    assert (record["first"], record["last"]) == (refused_id, refused_id)


def test_a_refused_gap_record_is_not_reported_again(open_box, factory, deliver):
    box = open_box()
    sink = Flaky()
    sink.bad = RefuseAll()
    delivery = deliver(box, "a", sink)
    box.put(factory.status(n=0))
    until(lambda: delivery.refused == 2)
    time.sleep(0.2)
    assert not box._state.losses


def test_a_reason_has_no_control_characters(open_box, factory, deliver, caplog):
    box = open_box()
    hostile = "500 \x1b[31mred\nsink 'b': recovered" + "x" * 5000
    sink = Flaky([SinkError(hostile, retry=True)])
    delivery = deliver(box, "a", sink)
    box.put(factory.status())
    until(lambda: sink.got)
    for text in (delivery.last_error, *(record.getMessage() for record in caplog.records)):
        assert text.isprintable()
        assert len(text) < 400


def test_a_failure_that_recurs_after_each_success_is_logged_once(open_box, factory, deliver, caplog):
    box = open_box()
    lost = SinkError("the connection was lost", retry=True)
    sink = Flaky([each for _ in range(6) for each in (lost, 1)])
    delivery = deliver(box, "a", sink)
    for n in range(6):
        box.put(factory.status(n=n))
        until(lambda: box.stats().queued["a"] == 0)
    assert delivery.failed == 6
    assert delivery.last_error == "the connection was lost"
    lines = [record.getMessage() for record in caplog.records]
    assert lines == ["sink 'a': the connection was lost; retrying", "sink 'a': recovered"]


def test_an_error_while_closing_a_sink_is_logged(open_box, deliver, caplog):
    class Stuck(Flaky):
        def close(self):
            raise ValueError("hunter2")

    box = open_box()
    delivery = deliver(box, "a", Stuck())
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    assert "sink 'a': cannot be closed: ValueError" in caplog.text
    assert "hunter2" not in caplog.text


def test_a_bug_in_a_sink_is_logged_once_without_the_text_of_its_exception(open_box, factory, deliver, caplog):
    box = open_box()
    sink = Flaky([ValueError("invalid header 'Bearer hunter2'")] * 3)
    delivery = deliver(box, "a", sink)
    box.put(factory.status())
    until(lambda: sink.got)
    assert delivery.last_error == "internal error: ValueError"
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(errors) == 1
    assert "in send" in errors[0].getMessage(), "where it happened"
    assert "hunter2" not in caplog.text


def test_an_unreachable_sink_does_not_slow_down_another(open_box, factory, deliver):
    box = open_box("dead", "healthy")
    sink = Flaky()
    deliver(box, "dead", Flaky([SinkError("unreachable", retry=True)] * 1000), Backoff(100, 300))
    deliver(box, "healthy", sink)
    started = time.monotonic()
    for n in range(1000):
        box.put(factory.status(n=n))
    until(lambda: len(sink.got) == 1000, 3.0)
    assert time.monotonic() - started < 3.0


def test_closing_closes_the_sink_and_stores_undelivered_messages(open_box, factory, deliver):
    box = open_box()
    sink = Flaky([4] + [SinkError("unreachable", retry=True)] * 1000)
    delivery = deliver(box, "a", sink, Backoff(100, 300))
    for n in range(10):
        box.put(factory.status(n=n))
    until(lambda: delivery.failed)
    delivery.stop()
    box.stop_waiting()
    delivery.join(2)
    box.close()
    assert sink.closed == 1
    assert len(receive_all(open_box())) == 10 - len(sink.got)


def test_waits_as_long_as_the_server_asks(open_box, factory, deliver):
    box = open_box()
    sink = Flaky([SinkError("429", retry=True, after_s=0.5)])
    deliver(box, "a", sink)
    started = time.monotonic()
    box.put(factory.status())
    until(lambda: sink.got)
    assert 0.5 <= time.monotonic() - started < 1.5


class Unsynced(SystemClock):
    """A clock that is a year late until it is set."""

    offset_ns = -86_400_000_000_000 * 365
    is_synced = False

    def utc_ns(self):
        return super().utc_ns() + self.offset_ns

    def synced(self):
        return self.is_synced


def test_corrects_the_time_once_the_clock_is_set():
    clock = Unsynced()
    factory = MessageFactory(clock=clock)
    message = factory.status()(1)
    true_utc_ns = time.time_ns()
    assert corrected(message, clock) is message
    clock.offset_ns, clock.is_synced = 0, True
    later = corrected(message, clock)
    body = json.loads(later.payload)
    assert body["utc_corrected"] is True
    assert body["clock_synced"] is True
    assert abs(decode(later.payload).utc_ns - true_utc_ns) < 50_000_000
    assert later.id == message.id
    strict().validate(body)


def test_does_not_correct_the_time_of_another_boot():
    clock = Unsynced()
    payload = MessageFactory(clock=clock).status()(1).payload.replace(clock.boot_id.encode(), b"another-boot")
    clock.offset_ns, clock.is_synced = 0, True
    message = decode(payload)
    assert corrected(message, clock) is message


def test_corrects_start_and_end_of_an_event():
    clock = Unsynced()
    encoder = Encoder(DEVICE, clock.boot_id, {})
    stamp = Stamp(clock.monotonic_ns(), clock.utc_ns(), False)
    event = Event("end", "e1", "door", "zone", stamp.monotonic_ns, stamp.utc_ns - 5 * 10**9, 0, stamp.utc_ns)
    message = encoder.event(3, event, stamp, "camera")
    clock.offset_ns, clock.is_synced = 0, True
    body = json.loads(corrected(message, clock).payload)
    assert body["end"] == body["utc"]
    assert body["start"] < body["end"]
    assert abs(datetime.fromisoformat(body["start"].replace("Z", "+00:00")).timestamp() + 5 - time.time()) < 1
    strict().validate(body)
