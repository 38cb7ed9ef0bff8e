"""The MQTT sink with the outbox: messages that a broker cannot take, and memory."""

import json
import random
import time

import pytest

from edge_app.backoff import Backoff
from edge_app.config import OutboxConfig as Limits
from edge_app.errors import SinkError
from edge_app.messages import Encoder, Stamp
from edge_app.outbox import Outbox, view
from edge_app.publish.delivery import Delivery
from tests.sinks.mqtt_broker import Subscriber, sink_on, until


def start_delivery(sink, context, folder):
    """An outbox that delivers to the sink `mqtt`. Returns it, its delivery, a function that puts, and the gaps."""
    clock, gaps = context.clock, []
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n, size=10):
        return encoder.status(seq, Stamp(n, n, True), {"n": n, "pad": "x" * size})

    box = Outbox(folder, ["mqtt"], Limits(), clock, lambda seq, gap: gaps.append(gap) or status(seq, -1))
    delivery = Delivery("mqtt", sink, box, clock, backoff=Backoff(0.02, 0.05), rng=random.Random(1))
    delivery.start()
    return box, delivery, lambda n, size=10: box.put(lambda seq: status(seq, n, size)), gaps


def stop_delivery(box, delivery):
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()


def test_a_message_that_always_closes_the_connection_is_refused(context, message, fake):
    broker = fake(acks=1 << 30, max_bytes=1000)
    sink = sink_on(broker, context)
    batch, delivered, refusals = [message(n, size=3000 if n == 3 else 10) for n in range(7)], [], []
    for _ in range(20):
        try:
            delivered += sorted(sink.send(batch))
        except SinkError as exc:
            refusals.append(exc)
            if not exc.retry:
                break
        batch = [m for m in batch if m.id not in delivered]
    *retried, refused = [error.retry for error in refusals]
    assert not refused
    assert all(retried)
    assert 4 <= len(retried) <= 6, "the first losses may be those of a whole batch"
    assert "the broker closed the connection 5 times on a message of 3" in str(refusals[-1])
    assert delivered == ["cam-1-0", "cam-1-1", "cam-1-2"]
    connects = len(broker.connects)
    with pytest.raises(SinkError) as error:
        sink.send(batch[:2])
    assert not error.value.retry
    assert len(broker.connects) == connects, "decided without another attempt"
    assert sorted(sink.send(batch[1:])) == ["cam-1-4", "cam-1-5", "cam-1-6"]
    sink.close()


@pytest.mark.system
def test_a_message_over_the_size_limit_is_set_aside_with_its_size(context, broker, tmp_path):
    broker.stop()
    with broker.config.open("a") as config:
        config.write("max_packet_size 2000\n")
    broker.start()
    watcher = Subscriber(broker.port, "edge-app/+/status")
    box, delivery, put, gaps = start_delivery(sink_on(broker, context, ack_timeout_s=5), context, tmp_path / "state")
    for n in range(60):
        put(n, 5000 if n in (0, 31, 32) else 10)
    until(lambda: box.stats().queued["mqtt"] == 0 and gaps, 20)
    stop_delivery(box, delivery)
    watcher.close()
    numbers = list(dict.fromkeys(json.loads(payload)["status"]["n"] for _, payload, _ in watcher.got))
    assert [n for n in numbers if n >= 0] == [n for n in range(60) if n not in (0, 31, 32)], "all others, in order"
    assert delivery.refused == 3
    refused = [json.loads(line) for line in view.messages(tmp_path / "state", refused=True)]
    assert [each["message"]["status"]["n"] for each in refused] == [0, 31, 32]
    assert all("closed the connection 5 times on a message of 52" in each["reason"] for each in refused)
    assert sum(gap["lost"]["status"] for gap in gaps) == 3 or len(gaps) == 1  # at most one gap record a minute
    assert "on a message of 52" in gaps[0]["reasons"][0]


def test_a_message_is_not_set_aside_because_the_broker_is_away(context, message, fake):
    """The connection is lost before anything is in flight, or while different messages are."""
    broker = fake(code=0, acks=1)
    sink = sink_on(broker, context)
    for _ in range(8):
        broker.acks = 1  # for `available`
        with pytest.raises(SinkError) as error:
            sink.send([message(1)])
        assert error.value.retry, "no acknowledgment: the connection was not closed"
    broker.close()
    for _ in range(8):
        with pytest.raises(SinkError) as error:
            sink.send([message(1)])
        assert error.value.retry


def test_unacknowledged_messages_stay_on_disk_not_in_memory(context, fake, tmp_path):
    clock = context.clock
    encoder = Encoder("cam-1", clock.boot_id, {})

    def status(seq, n):
        return encoder.status(seq, Stamp(n, n, True), {"n": n, "pad": "x" * 300})

    broker = fake(acks=1)  # for `available`
    box = Outbox(tmp_path, ["mqtt"], Limits(), clock, lambda seq, gap: status(seq, -1))
    sink = sink_on(broker, context, window=20)
    delivery = Delivery("mqtt", sink, box, clock, backoff=Backoff(0.05, 0.1), rng=random.Random(1))
    delivery.start()
    for n in range(4000):
        box.put(lambda seq, n=n: status(seq, n))
        if n % 50 == 49:
            time.sleep(0.002)
    until(lambda: delivery.failed >= 2)
    until(lambda: box.stats().in_memory == 0)
    assert box.stats().queued["mqtt"] == box.stats().stored == 4000
    assert "no acknowledgment" in delivery.last_error
    broker.acks = 1 << 30
    until(lambda: box.stats().queued["mqtt"] == 0, 20)
    delivery.stop()
    box.stop_waiting()
    delivery.join(5)
    box.close()
    numbers = [json.loads(p)["status"]["n"] for topic, p in broker.published if topic.endswith("/status")]
    assert list(dict.fromkeys(numbers)) == list(range(4000))
