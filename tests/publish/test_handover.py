"""A changed configuration replaces the publisher. Nothing is lost, repeated or sent out of order by that."""

import random
import threading
import time
from dataclasses import replace

import pytest

from edge_app.backoff import Backoff
from edge_app.clock import SystemClock
from edge_app.config import PluginConfig
from edge_app.errors import SinkError
from edge_app.publish.delivery import Delivery
from edge_app.publish.publisher import Publisher
from tests.outbox.boxes import until
from tests.publish.test_publisher import LABELS, bodies, frame, settings

DEAD = PluginConfig("mqtt", {"host": "127.0.0.1", "port": 9})


@pytest.fixture
def publish(tmp_path):
    """Build a publisher that takes over from the one before."""
    current = []

    def build(*sinks, folder=tmp_path, none=False):
        new = replace(settings(folder, *sinks), sinks=()) if none else settings(folder, *sinks)
        previous = current.pop().hand_over(0.2) if current else None
        try:
            made = Publisher(
                new, SystemClock(), "cam-1", LABELS,
                durable=True, backoff=Backoff(0.01, 0.05), previous=previous,
            )  # fmt: skip
        except BaseException:
            previous.outbox.close()
            raise
        current.append(made)
        return made

    yield build
    for each in current:
        each.close(0.2)


def frames_of(publisher):
    return [body["frame"] for body in bodies(publisher) if body["kind"] == "result"]


@pytest.mark.parametrize("usable", [True, False])
def test_keeps_messages_that_are_in_memory_only(publish, tmp_path, usable):
    if not usable:
        (tmp_path / "state").write_text("not a folder")
    first = publish(DEAD)
    for n in range(10):
        first.publish_frame(frame(n))
    second = publish(DEAD, PluginConfig("memory"))
    second.publish_frame(frame(10))
    until(lambda: len(frames_of(second)) == 11)
    assert frames_of(second) == list(range(11))
    assert (second.stats().problem is None) == usable


def test_keeps_them_over_a_configuration_without_sinks(publish, tmp_path):
    (tmp_path / "state").write_text("not a folder")
    publish(DEAD).publish_frame(frame(0))
    publish(none=True).publish_frame(frame(1))
    third = publish(PluginConfig("memory"))
    third.publish_frame(frame(2))
    until(lambda: frames_of(third)[-1:] == [2])
    assert frames_of(third) == [0, 2], "without a sink nothing is published"


def test_keeps_them_when_the_folder_changes(publish, tmp_path):
    (tmp_path / "state").write_text("not a folder")
    first = publish(DEAD)
    for n in range(5):
        first.publish_frame(frame(n))
    second = publish(PluginConfig("memory"), folder=tmp_path / "other")
    until(lambda: frames_of(second) == list(range(5)))
    assert second.stats().problem is None


def test_a_publisher_that_cannot_be_replaced_still_stores_messages(publish, tmp_path):
    first = publish(DEAD)
    handover = first.hand_over(0.2)
    with pytest.raises(SinkError):
        publish_after(handover, tmp_path, PluginConfig("jsonl", {"path": tmp_path / "none" / "x"}))
    first.publish_frame(frame(1))
    second = publish_after(handover, tmp_path, PluginConfig("memory"))
    until(lambda: frames_of(second) == [1])
    second.close(0.2)


def publish_after(handover, folder, sink):
    return Publisher(settings(folder, sink), SystemClock(), "cam-1", LABELS, durable=True, previous=handover)


class Slow:
    """A sink whose first request takes until `answer` is set."""

    batch_limit = 8

    def __init__(self, got, answer):
        self.got = got
        self.answer = answer
        self.closed = False

    def send(self, batch):
        self.got += [message.id for message in batch]
        self.answer.wait(10)
        return [message.id for message in batch]

    def idle(self):
        pass

    def close(self):
        self.closed = True


def test_a_request_in_flight_ends_before_the_new_sink_sends(open_box, factory):
    box = open_box()
    got, answer = [], threading.Event()

    def start(predecessor=None):
        made = Delivery(
            "a", Slow(got, answer), box, factory.clock,
            backoff=Backoff(0.01, 0.02), rng=random.Random(1), predecessor=predecessor,
        )  # fmt: skip
        made.start()
        return made

    deliveries = [start()]
    for n in range(30):
        box.put(factory.status(n=n))
    until(lambda: got)
    for _ in range(2):  # two reloads
        deliveries[-1].stop()
        box.stop_waiting()
        deliveries[-1].join(0.1)
        unfinished = deliveries[-1].unfinished()
        assert unfinished is deliveries[0]
        box.reconfigure(["a"], box._limits, factory.gap)
        deliveries.append(start(unfinished))
    time.sleep(0.3)
    first = list(got)
    answer.set()
    until(lambda: box.stats().queued["a"] == 0)
    assert len(first) <= 8
    assert len(got) == len(set(got)) == 30, "nothing twice"
    numbers = [int(id_.rpartition("-")[2]) for id_ in got]
    assert numbers == sorted(numbers)
    deliveries[-1].stop()
    box.stop_waiting()
    for each in deliveries:
        each.join(2)
        assert each._sink.closed
    assert box.stats().queued == {"a": 0}
