"""A change of sinks, limits or folder drops nothing, whether the disk works or not."""

import json
import time

import pytest

from edge_app.config import OutboxConfig as Limits
from edge_app.messages import decode
from tests.outbox.boxes import numbers, receive_all, receive_until_gap, rows_on_disk, until


@pytest.fixture(params=["disk works", "disk is full"])
def box(request, open_box):
    """An outbox for the sinks `a` and `b`. A full disk: SQLite's own error, at every commit."""
    box = open_box("a", "b")
    if request.param == "disk is full":
        box._disk.run(fill)
    return box


def fill(store):
    store._db.execute("PRAGMA max_page_count = 1")


def test_another_set_of_sinks_gets_what_it_has_not_received(box, factory):
    for n in range(60):
        box.put(factory.status(n=n))
    for sink, count in (("a", 20), ("b", 30)):
        items = box.next_batch(sink, count, 0.0)
        box.acknowledge(sink, items[-1].position, len(items))
    until(lambda: box.stats().commits or box.stats().problem)
    box.stop_waiting()
    box.reconfigure(["b", "c"], Limits(), factory.gap)
    box.put(factory.status(n=60))
    assert box.stats().queued == {"b": 31, "c": 41}
    assert numbers(receive_all(box, "b")) == list(range(30, 61))
    assert numbers(receive_all(box, "c")) == list(range(20, 61)), "a new sink starts where the slowest was"
    assert box.stats().queued == {"b": 0, "c": 0}
    assert box.next_batch("a", 10, 0.0) == [], "removed"


def test_a_sink_without_messages_waits(box, factory):
    """Also if the newest message was dropped: a delivery thread must not spin."""
    box.put(factory.status(n=0))
    receive_all(box, "a")
    box.stop_waiting()
    box.reconfigure(["a", "b"], Limits(max_memory_mb=0.0001), factory.gap)
    box.put(factory.of("result", n=1))
    began = time.monotonic()
    assert box.next_batch("a", 10, 0.3) == []
    assert time.monotonic() - began >= 0.29


def test_the_slowest_sink_is_removed(box, factory, tmp_path):
    for n in range(60):
        box.put(factory.status(n=n))
    receive_all(box, "a")
    box.stop_waiting()
    box.reconfigure(["a"], Limits(), factory.gap)
    assert box.stats().queued == {"a": 0}
    until(lambda: rows_on_disk(tmp_path / "state") == 0)
    assert box.stats().in_memory == 0


def test_a_late_acknowledgment_of_a_removed_sink_is_ignored(box, factory):
    box.put(factory.status(n=0))
    (item,) = box.next_batch("a", 10, 0.0)
    box.stop_waiting()
    box.reconfigure(["b"], Limits(), factory.gap)
    box.acknowledge("a", item.position, 1)
    assert numbers(receive_all(box, "b")) == [0]


def test_cursors_of_changed_sinks_survive_a_restart(open_box, factory):
    box = open_box("a", "b")
    for n in range(60):
        box.put(factory.status(n=n))
    receive_all(box, "a")
    box.reconfigure(["a", "c"], Limits(), factory.gap)
    items = box.next_batch("c", 10, 0.0)
    box.acknowledge("c", items[-1].position, 10)
    box.close()
    again = open_box("a", "c")
    assert receive_all(again, "a") == []
    assert numbers(receive_all(again, "c")) == list(range(10, 60))


def test_a_smaller_limit_holds_for_the_open_file(open_box, factory, tmp_path):
    box = open_box(max_mb=8)
    for n in range(3000):
        box.put(factory.of("result", 500, n))
        if n % 50 == 49:
            time.sleep(0.005)
    until(lambda: box.stats().in_memory == 0)
    box.stop_waiting()
    box.reconfigure(["a"], Limits(max_mb=1), factory.gap)
    until(lambda: box.put(factory.status()) or box.stats().lost > 0)
    until(lambda: box.stats().in_memory == 0)
    assert sum(f.stat().st_size for f in (tmp_path / "state").glob("outbox.db-wal")) <= 1_000_000
    assert rows_on_disk(tmp_path / "state") * 500 <= 1_000_000


def test_another_folder_gets_what_a_full_disk_could_not_take(open_box, factory, tmp_path):
    old = open_box("a", max_memory_mb=0.05)
    old._disk.run(fill)
    for n in range(500):
        old.put(factory.status(n=n))
    kept, lost = old.stats().in_memory, old.stats().lost
    assert kept
    assert lost
    new = open_box("a", folder=tmp_path / "other")
    old.close(successor=new)
    new.put(factory.status(n=500))
    got = receive_until_gap(new)
    assert numbers(got)[: kept + 1] == list(range(500 - kept, 501))
    gaps = [body["status"]["gap"] for item in got if "gap" in (body := json.loads(item.message.payload))["status"]]
    assert [(gap["lost"]["status"], gap["reasons"]) for gap in gaps] == [(lost, ["memory full"])]


def test_another_folder_gets_nothing_that_is_on_the_old_disk(open_box, factory, tmp_path):
    old, new = open_box(), open_box(folder=tmp_path / "other")
    old.put(factory.status(n=1))
    old.close(successor=new)
    assert receive_all(new) == []
    assert numbers(receive_all(open_box())) == [1]


def test_closing_on_a_full_disk_logs_the_number_of_lost_messages(open_box, factory, caplog):
    box = open_box()
    box._disk.run(fill)
    for _ in range(3):
        box.put(factory.status())
    box.close()
    assert "outbox: 3 messages are lost: " in caplog.text
    assert "full" in caplog.text


def test_the_gap_of_a_full_disk_survives_a_change(open_box, factory):
    box = open_box(max_memory_mb=0.05)
    box._disk.run(fill)
    for n in range(500):
        box.put(factory.status(n=n))
    lost = box.stats().lost
    box.stop_waiting()
    box.reconfigure(["a"], Limits(), factory.gap)
    box._disk.run(lambda store: store._db.execute("PRAGMA max_page_count = 100000"))
    gap = next(item for item in receive_until_gap(box) if "gap" in json.loads(item.message.payload)["status"])
    assert decode(gap.message.payload).kind == "status"
    assert json.loads(gap.message.payload)["status"]["gap"]["lost"]["status"] == lost


def test_messages_lost_at_the_end_are_named_after_the_next_start(open_box, factory):
    box = open_box(max_memory_mb=0.05)
    box._disk.run(fill)
    for n in range(500):
        box.put(factory.status(n=n))
    until(lambda: box.stats().problem)
    box.close()
    again = open_box()
    again.put(factory.status(n=500))
    gap = next(item for item in receive_until_gap(again) if "gap" in json.loads(item.message.payload)["status"])
    found = json.loads(gap.message.payload)["status"]["gap"]
    assert found["lost"]["status"] + box.stats().stored == 500
    assert found["reasons"] == ["memory full", "not stored before the end"]
