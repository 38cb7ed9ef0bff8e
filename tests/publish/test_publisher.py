"""The messages that each frame causes, directly (replay) and through the outbox (run)."""

import json
import os
import time

import numpy as np
import pytest

from edge_app import config
from edge_app.backoff import Backoff
from edge_app.clock import ClipClock, SystemClock
from edge_app.config import PluginConfig
from edge_app.errors import ConfigError, SinkError
from edge_app.frame import Detections, Event, Frame, HeadOutput
from edge_app.messages import Stamp
from edge_app.model import manifest
from edge_app.model.schema import Input
from edge_app.publish.publisher import Publisher
from tests.conftest import PROJECT

LABELS = {"people": ("person",)}


def settings(folder, *sinks, results="all", **outbox):
    return config.Config(
        path=folder / "config.yaml",
        device=config.DeviceConfig("cam-1", folder / "state"),
        source=config.SourceConfig(config.SourceCommon("synthetic"), PluginConfig("synthetic")),
        model=config.ModelConfig(folder),
        manifest=manifest.Manifest(folder, "none", Input(1, 1), {}, None, {}),
        heads={},
        publish=config.PublishConfig(results=results),
        sinks=sinks or (PluginConfig("memory"),),
        outbox=config.OutboxConfig(**outbox),
    )


def frame(n, x=10.0, events=()):
    found = Detections(np.array([[x, 10, x + 100, 90]], np.float32), np.array([0.9], np.float32), np.zeros(1, np.int32))
    pixels = np.zeros((100, 200, 3), np.uint8)
    stamp_ns = n * 100_000_000
    return Frame("camera", n, stamp_ns, stamp_ns, pixels, heads={"people": HeadOutput(found)}, events=events)


EVENT = Event("new", "e1", "door", "line", 5, 5)


@pytest.fixture
def publisher(tmp_path):
    opened = []

    def open_(*sinks, durable=True, results="all", **outbox):
        clock = SystemClock() if durable else ClipClock()
        made = Publisher(
            settings(tmp_path, *sinks, results=results, **outbox),
            clock, "cam-1", LABELS, durable=durable, backoff=Backoff(0.01, 0.05),
        )  # fmt: skip
        opened.append(made)
        return made

    yield open_
    for each in opened:
        each.close(0.5)


def until(condition, timeout_s=5.0):
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "did not happen in time"
        time.sleep(0.01)


def bodies(publisher, name="memory"):
    return [json.loads(message.payload) for message in publisher.sinks[name].messages]


def test_replay_publishes_every_frame_at_once_numbered_from_0(publisher):
    replay = publisher(durable=False, results="none")
    for n in range(3):
        replay.publish_frame(frame(n, events=(EVENT,) if n == 1 else ()))
        assert bodies(replay)[-1]["seq"] == n + (n >= 1)
    assert [(body["kind"], body["seq"]) for body in bodies(replay)] == [
        ("result", 0), ("result", 1), ("event", 2), ("result", 3),
    ]  # fmt: skip
    assert bodies(replay)[2]["rule"] == "door"


def test_replay_writes_no_state(publisher, tmp_path):
    replay = publisher(durable=False)
    replay.publish_frame(frame(0))
    replay.close()
    assert not (tmp_path / "state").exists()


def test_replay_raises_the_error_of_a_sink(publisher, tmp_path):
    replay = publisher(PluginConfig("serial", {"port": str(tmp_path / "tty")}), durable=False)
    with pytest.raises(SinkError, match="No such file"):
        replay.publish_frame(frame(0))


def test_run_delivers_to_every_sink_in_order(publisher, tmp_path):
    run = publisher(PluginConfig("memory"), PluginConfig("jsonl", {"path": tmp_path / "out.jsonl"}))
    for n in range(50):
        run.publish_frame(frame(n, events=(EVENT,) if n % 10 == 0 else ()))
    until(lambda: len(bodies(run)) == 55)
    run.close()
    lines = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert lines == bodies(run)
    seqs = [body["seq"] for body in lines]
    assert seqs == list(range(seqs[0], seqs[0] + 55))
    stats = run.stats()
    assert (stats.results, stats.events, stats.lost) == (50, 5, 0)
    assert [(sink.name, sink.sent, sink.queued) for sink in stats.sinks] == [("memory", 55, 0), ("jsonl", 55, 0)]


@pytest.mark.parametrize(("results", "expected"), [
    ("all", [0, 1, 2, 3, 4, 5]),
    ("none", []),
    ("on_change", [0, 3]),
    (0.3, [0, 3]),
    (0.25, [0, 3]),
])  # fmt: skip
def test_publishes_the_configured_results(publisher, results, expected):
    run = publisher(results=results)
    for n in range(6):
        run.publish_frame(frame(n, x=10 if n < 3 else 60, events=(EVENT,)))
    until(lambda: sum(body["kind"] == "event" for body in bodies(run)) == 6)
    assert [body["frame"] for body in bodies(run) if body["kind"] == "result"] == expected


def test_a_status_has_the_name_of_the_camera(publisher):
    run = publisher()
    run.publish_status(Stamp(1, 2, True), {"frames": 7}, "gate")
    until(lambda: bodies(run))
    assert (bodies(run)[0]["status"], bodies(run)[0]["source"]) == ({"frames": 7}, "gate")


def test_closing_stores_undelivered_messages_for_an_unreachable_sink(publisher, tmp_path):
    dead = PluginConfig("mqtt", {"host": "127.0.0.1", "port": 9})
    run = publisher(PluginConfig("memory"), dead)
    for n in range(10):
        run.publish_frame(frame(n))
    until(lambda: len(bodies(run)) == 10)
    started = time.monotonic()
    run.close(drain_s=60.0)
    assert time.monotonic() - started < 20, "does not wait for an unreachable sink"
    again = publisher(PluginConfig("memory"), dead)
    stats = {sink.name: sink.queued for sink in again.stats().sinks}
    assert stats["mqtt"] == 10
    until(lambda: again.stats().sinks[1].failed > 0)
    assert "Connection refused" in again.stats().sinks[1].last_error


def test_closing_twice_is_safe(publisher):
    run = publisher()
    run.close()
    run.close()


def test_an_added_sink_gets_the_stored_messages(publisher):
    dead = PluginConfig("mqtt", {"host": "127.0.0.1", "port": 9})
    run = publisher(dead)
    for n in range(5):
        run.publish_frame(frame(n))
    run.close()
    again = publisher(dead, PluginConfig("memory"))
    until(lambda: len(bodies(again)) == 5)


def test_a_closed_pipe_ends_the_run(publisher):
    reader, writer = os.pipe()
    stdout = os.dup(1)
    os.dup2(writer, 1)
    os.close(writer)
    try:
        run = publisher(PluginConfig("jsonl", {"path": "-"}))
        run.publish_frame(frame(0))
        until(lambda: run.stats().sinks[0].sent == 1)
        os.close(reader)
        with pytest.raises(BrokenPipeError):
            until(lambda: run.publish_frame(frame(1)))
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)


def test_an_error_in_a_sink_has_its_place_in_the_configuration(publisher, tmp_path):
    with pytest.raises(SinkError, match=r"config.yaml:7: sink 'jsonl': .*none/x: cannot be written: No such file"):
        publisher(PluginConfig("jsonl", {"path": tmp_path / "none" / "x"}, "config.yaml:7"))
    with pytest.raises(ConfigError, match=r"config.yaml:9: sink 'up': prefix: found 'a#'"):
        publisher(PluginConfig("memory"), PluginConfig("mqtt", {"host": "h", "prefix": "a#"}, "config.yaml:9", "up"))


def test_an_unwritable_state_folder_is_reported_and_delivery_continues(publisher, tmp_path):
    (tmp_path / "state").write_text("not a folder")
    run = publisher()
    run.publish_frame(frame(0))
    until(lambda: len(bodies(run)) == 1)
    assert str(tmp_path / "state") in run.stats().problem


def test_rejects_two_sinks_with_one_name(tmp_path):
    text = (PROJECT / "config.yaml").read_text().split("sinks:")[0]
    path = tmp_path / "config.yaml"
    path.write_text(text + "sinks:\n  - {type: memory}\n  - {type: memory}\n")
    with pytest.raises(ConfigError, match=r"found a second sink 'memory'; expected a different name for each"):
        config.load(path)
    text = text.replace("max_mb: 64", "max_mb: 0.1")
    path.write_text(text + "sinks:\n  - {type: memory}\n  - {type: memory, name: other}\n")
    with pytest.raises(ConfigError) as error:
        config.load(path)
    assert "outbox.max_mb: found '0.1'; expected a number 1 to 4096" in str(error.value)
    assert "second sink" not in str(error.value)


def test_crossings_are_counted_over_reloads_and_restarts_but_not_in_a_replay(publisher):
    crossing = Event("new", "e1", "door", "line", 5, 5, value={"direction": "in"})
    first = publisher()
    first.publish_frame(frame(1, events=(crossing, EVENT)))
    first.close()
    second = publisher()
    second.publish_frame(frame(1, events=(crossing,)))
    rules = second.totals()["totals"]["rules"]
    assert rules["door"]["in"]["total"] == 2
    assert rules["door"]["crossed"]["total"] == 1  # a rule of somebody else's, without directions
    second.close()
    assert publisher(durable=False).totals() == {}
