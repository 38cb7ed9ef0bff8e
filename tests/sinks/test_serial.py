"""The serial sink on a real pty pair: noise, an unplugged cable, a port in use."""

import json
import random

import pytest
import serial

from edge_app.errors import SinkError
from edge_app.sinks.serial import Sink
from tests.sinks.microcontroller import Microcontroller


@pytest.fixture
def mcu():
    made = []

    def start(**noise):
        made.append(Microcontroller(**noise))
        return made[-1]

    yield start
    for each in made:
        each.close()


def sink_on(mcu, context, **options):
    return Sink(context, **{"port": mcu.path, "baud": 921600, "ack_timeout_s": 0.03, **options})


def test_frames_are_acknowledged_in_order(context, message, mcu):
    side = mcu()
    sink = sink_on(side, context)
    batch = [message(n) for n in range(20)]
    assert sink.send(batch) == [m.id for m in batch]
    assert side.accepted == [m.payload for m in batch]
    sink.close()
    sink.close()


def test_delivers_everything_over_a_noisy_line(context, message, mcu):
    side = mcu(corrupt=0.001, drop=0.0005)
    sink = sink_on(side, context)
    batch = [message(n, size=rng_size) for n, rng_size in enumerate(random.Random(2).choices(range(300), k=500))]
    left = list(batch)
    while left:
        done = set(sink.send(left[:20]))
        left = [m for m in left if m.id not in done]
    seen = list(dict.fromkeys(side.accepted))  # a message arrives twice if its acknowledgments were lost
    assert seen == [m.payload for m in batch]
    assert side.broken > 20
    sink.close()


def test_delivers_after_the_microcontroller_restarts(context, message, mcu):
    side = mcu()
    sink = sink_on(side, context)
    sink.send([message(1)])
    side.restart()
    assert sink.send([message(2)]) == ["cam-1-2"]
    assert [json.loads(p)["seq"] for p in side.accepted] == [1, 2]
    sink.close()


def test_a_message_after_a_restart_is_not_taken_for_a_repeated_one(context, message, mcu):
    side = mcu()
    for seq in range(8):
        sink = sink_on(side, context)
        sink.send([message(seq)])
        sink.close()
    assert [json.loads(p)["seq"] for p in side.accepted] == list(range(8))


def test_an_unplugged_cable(context, message, mcu):
    side = mcu()
    sink = sink_on(side, context)
    sink.send([message(1)])
    side.cable.clear()
    with pytest.raises(SinkError, match="no acknowledgment") as error:
        sink.send([message(2)])
    assert error.value.retry
    side.cable.set()
    assert sink.send([message(2)]) == ["cam-1-2"]
    sink.close()


def test_only_the_message_that_is_too_long_is_refused(context, message, mcu):
    side = mcu()
    sink = sink_on(side, context, max_bytes=300)
    assert sink.send([message(1, size=10), message(2, size=1000)]) == ["cam-1-1"], "the delivered one"
    with pytest.raises(SinkError, match="bytes; expected at most 300") as error:
        sink.send([message(2, size=1000)])
    assert not error.value.retry
    assert sink.send([message(3, size=10)]) == ["cam-1-3"]
    sink.close()


def test_lines_mode_needs_no_acknowledgment(context, message, mcu):
    side = mcu()
    side.cable.clear()
    received = serial.Serial(side.path, timeout=1, exclusive=False)
    sink = sink_on(side, context, mode="lines")
    assert sink.send([message(1), message(2)]) == ["cam-1-1", "cam-1-2"]
    sink.close()
    received.close()


def test_a_missing_port(context, message, tmp_path):
    sink = Sink(context, port=str(tmp_path / "ttyNONE"))
    for attempt in (sink.idle, lambda: sink.send([message(1)])):
        with pytest.raises(SinkError, match="ttyNONE: No such file") as error:
            attempt()
        assert error.value.retry


def test_a_port_in_use(context, message, mcu):
    side = mcu()
    other = serial.Serial(side.path, exclusive=True)
    with pytest.raises(SinkError, match="in use by another program"):
        sink_on(side, context).send([message(1)])
    other.close()
    sink = sink_on(side, context)
    assert sink.send([message(1)]) == ["cam-1-1"]
    sink.close()


def test_a_replugged_adapter(context, message, mcu, tmp_path):
    first, second = mcu(), mcu()
    link = tmp_path / "ttyMCU"
    link.symlink_to(first.path)
    sink = Sink(context, port=str(link), baud=921600, ack_timeout_s=0.03)
    sink.send([message(1)])
    first.cable.clear()
    link.unlink()
    with pytest.raises(SinkError):
        sink.send([message(2)])
    with pytest.raises(SinkError, match="No such file"):
        sink.send([message(2)])
    link.symlink_to(second.path)
    assert sink.send([message(2)]) == ["cam-1-2"]
    assert [json.loads(p)["seq"] for p in second.accepted] == [2]
    sink.close()
