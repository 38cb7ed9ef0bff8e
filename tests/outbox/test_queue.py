"""The outbox delivers every accepted message at least once, in order, with few writes."""

import json
import random
import shutil
import time

import pytest

from edge_app.errors import ConfigError
from edge_app.outbox.store import Store
from tests.outbox.boxes import numbers, receive_all, receive_until_gap, rows_on_disk, until


def test_a_message_is_available_at_once(open_box, factory):
    box = open_box()
    for n in range(5):
        box.put(factory.status(n=n))
    assert numbers(box.next_batch("a", 10, 0.0)) == [0, 1, 2, 3, 4]
    assert numbers(box.next_batch("a", 2, 0.0)) == [0, 1], "the same messages until they are acknowledged"


def test_messages_acknowledged_before_the_commit_are_never_written(open_box, factory, tmp_path):
    box = open_box()
    for n in range(200):
        box.put(factory.status(n=n))
        receive_all(box)
    time.sleep(1.2)
    assert box.stats().commits == 0
    assert rows_on_disk(tmp_path / "state") == 0


@pytest.mark.parametrize(("kind", "within_s"), [("result", 1.0), ("event", 0.1)])
def test_a_message_is_on_disk_within_the_promised_time(open_box, factory, tmp_path, kind, within_s):
    box = open_box()
    box.put(factory.of(kind))
    time.sleep(within_s)
    assert rows_on_disk(tmp_path / "state") == 1


def test_fifty_pending_messages_are_written_at_once(open_box, factory, tmp_path):
    box = open_box()
    for n in range(50):
        box.put(factory.status(n=n))
    until(lambda: box.stats().commits == 1, 0.5)
    assert rows_on_disk(tmp_path / "state") == 50


def test_messages_survive_a_restart(open_box, factory):
    box = open_box()
    for n in range(7):
        box.put(factory.status(n=n))
    first = [item.message for item in box.next_batch("a", 10, 0.0)]
    box.close()
    again = open_box()
    again.put(factory.status(n=7))
    items = receive_all(again)
    assert numbers(items) == list(range(8))
    assert [item.message.payload for item in items[:7]] == [message.payload for message in first]
    assert items[7].message.seq > items[6].message.seq, "numbers rise across a restart"


def test_order_is_kept_across_disk_and_memory(open_box, factory):
    box = open_box()
    for n in range(120):
        box.put(factory.status(n=n))
        if n == 60:
            until(lambda: box.stats().stored >= 50)
    assert numbers(receive_all(box, limit=7)) == list(range(120))


def test_cursors_survive_a_restart(open_box, factory):
    box = open_box("fast", "slow")
    for n in range(60):
        box.put(factory.status(n=n))
    assert len(receive_all(box, "fast")) == 60
    box.close()
    again = open_box("fast", "slow")
    assert receive_all(again, "fast") == []
    assert numbers(receive_all(again, "slow")) == list(range(60))


def test_messages_that_all_sinks_acknowledged_are_deleted(open_box, factory, tmp_path):
    box = open_box("a", "b")
    for n in range(60):
        box.put(factory.status(n=n))
    until(lambda: box.stats().stored == 60)
    receive_all(box, "a")
    time.sleep(1.2)
    assert rows_on_disk(tmp_path / "state") == 60
    receive_all(box, "b")
    until(lambda: rows_on_disk(tmp_path / "state") == 0)
    assert box.stats().queued == {"a": 0, "b": 0}


def test_a_removed_sink_does_not_hold_messages(open_box, factory, tmp_path):
    box = open_box("a", "gone")
    for n in range(60):
        box.put(factory.status(n=n))
    receive_all(box, "a")
    box.close()
    again = open_box("a")
    again.put(factory.status(n=60))
    assert numbers(receive_all(again)) == [60]


def test_evicts_the_oldest_results_before_events_and_reports_it(open_box, factory, tmp_path):
    box = open_box(max_mb=1)
    for n in range(100):
        box.put(factory.of("event", 300, n))
    for n in range(3000):
        box.put(factory.of("result", 300, n))
        if n % 50 == 49:
            time.sleep(0.01)
    until(lambda: box.stats().in_memory == 0)
    size = sum(f.stat().st_size for f in (tmp_path / "state").glob("outbox.db*") if "shm" not in f.name)
    assert size <= 1_000_000
    box.close()
    lost = box.stats().lost
    assert lost > 100
    again = open_box(max_mb=1)
    *got, gap = receive_until_gap(again)
    kinds = [item.message.kind for item in got]
    assert kinds.count("event") == 100, "no event is evicted while there are results"
    results = [n for item, n in zip(got, numbers(got)) if item.message.kind == "result"]
    assert results == list(range(lost, 3000)), "the oldest are evicted"
    gap_record = json.loads(gap.message.payload)["status"]["gap"]
    assert gap_record["lost"] == {"event": 0, "status": 0, "result": lost}
    assert gap_record["reasons"] == ["outbox full"]


def test_the_file_stays_below_its_cap(open_box, factory, tmp_path):
    box = open_box(max_mb=1)
    rng = random.Random(1)
    sizes = []
    for n in range(6000):
        box.put(factory.of(rng.choice(["event", "result", "result", "status"]), rng.randrange(20, 1500), n))
        if n % 50 == 0:
            time.sleep(0.005)
            sizes.append(sum(f.stat().st_size for f in (tmp_path / "state").glob("outbox.db*") if "shm" not in f.name))
    assert max(sizes) <= 1_000_000
    assert box.stats().lost > 1000


def test_a_message_that_is_too_large_is_dropped_and_reported(open_box, factory):
    box = open_box(max_message_kb=1)
    box.put(factory.status(n=1))
    box.put(factory.status(size=2000, n=2))
    box.put(factory.status(n=3))
    assert numbers(receive_all(box)) == [1, 3]
    (gap,) = receive_until_gap(box)
    gap_record = json.loads(gap.message.payload)["status"]["gap"]
    assert gap_record["reasons"] == ["message too large"]
    assert gap_record["lost"]["status"] == 1
    assert box.stats().lost == 1


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "cut to nothing": lambda data: b"",
    "cut to an odd length": lambda data: data[:1500],
    "noise": lambda data: random.Random(3).randbytes(len(data)),
    "noise after the header": lambda data: data[:1024] + random.Random(4).randbytes(len(data) - 1024),
    "noise in the middle": lambda data: data[:20000] + random.Random(5).randbytes(3000) + data[23000:],
    "another program's file": lambda data: b"#!/bin/sh\nexit 1\n",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_reported_and_replaced(open_box, factory, tmp_path, damage):
    box = open_box()
    for n in range(200):
        box.put(factory.status(n=n))
    last = box.next_batch("a", 500, 0.0)[-1].message.seq
    box.close()
    path = tmp_path / "state" / "outbox.db"
    path.write_bytes(damage(path.read_bytes()))
    again = open_box()
    again.put(factory.status(n=999))
    got = receive_until_gap(again)
    assert 999 in numbers(got)
    gaps = [json.loads(item.message.payload)["status"]["gap"] for item in got if numbers([item]) == [None]]
    assert gaps[0]["unknown"]
    assert gaps[0]["reasons"][0] in ("outbox file damaged", "message damaged on disk", "outbox file missing")
    fresh = [item.message.seq for item, n in zip(got, numbers(got)) if n == 999]
    assert fresh[0] > last, "no number is used twice"


def damaged(data, rng):
    """Replace some bytes by noise or zeros, or truncate."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 20])):
        at, size = rng.randrange(len(data)), rng.choice([1, 4, 50, 1024, 5000])
        data[at : at + size] = (rng.randbytes if rng.random() < 0.7 else bytes)(min(size, len(data) - at))
    return data[: rng.randrange(len(data))] if rng.random() < 0.2 else data


def test_random_damage_neither_stops_it_nor_invents_messages(open_box, factory, tmp_path):
    box = open_box("a", "b", folder=tmp_path / "whole")
    for n in range(400):
        box.put(factory.status(n=n))
    receive_all(box, "a", limit=90)
    until(lambda: box.stats().in_memory == 0)
    shutil.copytree(tmp_path / "whole", tmp_path / "running")  # with a write-ahead log
    box.close()
    for seed in range(40):
        rng = random.Random(seed)
        folder = tmp_path / f"damaged-{seed}"
        shutil.copytree(tmp_path / rng.choice(["whole", "running"]), folder)
        (folder / "outbox.db-shm").unlink(missing_ok=True)
        victim = rng.choice([part for part in folder.glob("outbox.db*") if part.stat().st_size])
        victim.write_bytes(damaged(victim.read_bytes(), rng))
        again = open_box("a", "b", folder=folder)
        again.put(factory.status(n=999))
        for sink in ("a", "b"):
            got = numbers(receive_all(again, sink))
            assert 999 in got, f"seed {seed}"
            assert set(got) <= {*range(400), 999, None}
        again.close()


def test_a_file_damaged_while_running_is_replaced(open_box, factory, tmp_path):
    box = open_box("a", "b")
    for n in range(2000):
        box.put(factory.status(n=n))
    until(lambda: box.stats().in_memory == 0)
    path = tmp_path / "state" / "outbox.db"
    for part in (path, path.with_name("outbox.db-wal")):
        part.write_bytes(random.Random(1).randbytes(part.stat().st_size))
    receive_until_gap(box)
    for n in range(300, 600):
        box.put(factory.status(n=n))
    assert numbers(receive_all(box)) == list(range(300, 600))
    until(lambda: box.stats().stored >= 300)
    box.close()
    assert numbers(receive_all(open_box("a", "b"), "b"))[-300:] == list(range(300, 600))


def test_a_second_process_is_rejected(open_box, tmp_path):
    open_box()
    with pytest.raises(ConfigError, match="in use by another edge-app"):
        open_box()


def test_a_rejected_second_process_does_not_disturb_the_first(open_box, factory):
    box = open_box()
    with pytest.raises(ConfigError):
        open_box()
    box.put(factory.status(n=1))
    box.close()
    assert numbers(receive_all(open_box())) == [1]


def test_without_a_usable_folder_messages_stay_in_memory(open_box, factory, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    box = open_box(folder=tmp_path / "file" / "state", max_memory_mb=0.05)
    assert "Not a directory" in box.stats().problem
    for n in range(500):
        box.put(factory.status(n=n))
    stats = box.stats()
    assert stats.in_memory < 250, "bounded"
    assert stats.lost == 500 - stats.in_memory
    *got, gap = receive_until_gap(box)
    assert numbers(got) == list(range(stats.lost, 500))
    assert json.loads(gap.message.payload)["status"]["gap"]["reasons"] == ["memory full"]


def test_a_folder_that_becomes_usable_is_read_and_used(open_box, factory, tmp_path):
    first = open_box()
    for n in range(3):
        first.put(factory.status(n=n))
    first.close()
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").write_text("not a folder")
    box = open_box()
    for n in range(3, 6):
        box.put(factory.status(n=n))
    assert numbers(box.next_batch("a", 10, 0.0)) == [3, 4, 5]
    (tmp_path / "state").unlink()
    (tmp_path / "away").rename(tmp_path / "state")
    until(lambda: box.stats().problem is None)
    assert numbers(receive_all(box)) == list(range(6)), "stored messages come first"


def test_the_last_hundred_refused_messages_are_stored(open_box, factory, tmp_path):
    box = open_box()
    for n in range(130):
        box.put(factory.status(n=n))
    for item in box.next_batch("a", 200, 0.0):
        box.record_refused("a", item, "400 Bad Request")
    box.close()
    store = Store(tmp_path / "state" / "outbox.db", 1 << 20)
    kept = store.refused()
    store.close()
    assert len(kept) == 100
    assert kept[-1][:2] == ("a", "400 Bad Request")
    assert json.loads(kept[-1][2])["status"]["n"] == 129
