"""The outbox: what is accepted is delivered, in order, at least once, and little is written."""

import json
import os
import random
import shutil
import sqlite3
import time
from datetime import datetime

import jsonschema
import pytest

from edge_app.clock import SystemClock
from edge_app.config import Outbox as Limits
from edge_app.delivery import Backoff, Delivery, corrected
from edge_app.errors import ConfigError, SinkError
from edge_app.frame import Event
from edge_app.messages import SCHEMA_FILE, Encoder, Stamp, decode
from edge_app.outbox import Outbox
from edge_app.outbox.sequence import BLOCK, Sequence
from edge_app.outbox.store import Store

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
    while items := box.take(sink, limit, 0.0):
        got += items
        box.delivered(sink, items[-1].position, len(items))
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


def test_is_offered_at_once_in_order(open_box, maker):
    box = open_box()
    for n in range(5):
        box.put(maker.status(n=n))
    assert numbers(box.take("a", 10, 0.0)) == [0, 1, 2, 3, 4]
    assert numbers(box.take("a", 2, 0.0)) == [0, 1], "the same again until it is delivered"


def test_delivered_before_the_commit_is_due_is_never_written(open_box, maker, tmp_path):
    box = open_box()
    for n in range(200):
        box.put(maker.status(n=n))
        take_all(box)
    time.sleep(1.2)
    assert box.stats().commits == 0
    assert rows_on_disk(tmp_path / "state") == 0


@pytest.mark.parametrize(("kind", "within_s"), [("result", 1.0), ("event", 0.1)])
def test_is_on_disk_within_its_time(open_box, maker, tmp_path, kind, within_s):
    box = open_box()
    box.put(maker.of(kind))
    time.sleep(within_s)
    assert rows_on_disk(tmp_path / "state") == 1


def test_fifty_are_written_at_once(open_box, maker, tmp_path):
    box = open_box()
    for n in range(50):
        box.put(maker.status(n=n))
    until(lambda: box.stats().commits == 1, 0.5)
    assert rows_on_disk(tmp_path / "state") == 50


def test_survives_being_closed_and_goes_on_behind_it(open_box, maker):
    box = open_box()
    for n in range(7):
        box.put(maker.status(n=n))
    first = [item.message for item in box.take("a", 10, 0.0)]
    box.close()
    again = open_box()
    again.put(maker.status(n=7))
    items = take_all(again)
    assert numbers(items) == list(range(8))
    assert [item.message.payload for item in items[:7]] == [message.payload for message in first]
    assert items[7].message.seq > items[6].message.seq, "numbers rise over a restart"


def test_order_is_kept_from_disk_into_memory(open_box, maker):
    box = open_box()
    for n in range(120):
        box.put(maker.status(n=n))
        if n == 60:
            until(lambda: box.stats().stored >= 50)
    assert numbers(take_all(box, limit=7)) == list(range(120))


def test_each_sink_has_its_own_cursor_over_a_restart(open_box, maker):
    box = open_box("fast", "slow")
    for n in range(60):
        box.put(maker.status(n=n))
    assert len(take_all(box, "fast")) == 60
    box.close()
    again = open_box("fast", "slow")
    assert take_all(again, "fast") == []
    assert numbers(take_all(again, "slow")) == list(range(60))


def test_delivered_to_all_is_deleted(open_box, maker, tmp_path):
    box = open_box("a", "b")
    for n in range(60):
        box.put(maker.status(n=n))
    until(lambda: box.stats().stored == 60)
    take_all(box, "a")
    time.sleep(1.2)
    assert rows_on_disk(tmp_path / "state") == 60
    take_all(box, "b")
    until(lambda: rows_on_disk(tmp_path / "state") == 0)
    assert box.stats().queued == {"a": 0, "b": 0}


def test_a_sink_that_is_no_longer_configured_holds_nothing(open_box, maker, tmp_path):
    box = open_box("a", "gone")
    for n in range(60):
        box.put(maker.status(n=n))
    take_all(box, "a")
    box.close()
    again = open_box("a")
    again.put(maker.status(n=60))
    assert numbers(take_all(again)) == [60]


def test_evicts_results_before_events_oldest_first_and_tells(open_box, maker, tmp_path):
    box = open_box(max_mb=1)
    for n in range(100):
        box.put(maker.of("event", 300, n))
    for n in range(3000):
        box.put(maker.of("result", 300, n))
        if n % 50 == 49:
            time.sleep(0.01)
    until(lambda: box.stats().in_memory == 0)
    size = sum(f.stat().st_size for f in (tmp_path / "state").glob("outbox.db*") if "shm" not in f.name)
    assert size <= 1_000_000
    box.close()
    lost = box.stats().lost
    assert lost > 100
    again = open_box(max_mb=1)
    *got, gap = take_with_gap(again)
    kinds = [item.message.kind for item in got]
    assert kinds.count("event") == 100, "events outlive results"
    results = [n for item, n in zip(got, numbers(got)) if item.message.kind == "result"]
    assert results == list(range(lost, 3000)), "the oldest went"
    tally = json.loads(gap.message.payload)["status"]["gap"]
    assert tally["lost"] == {"event": 0, "status": 0, "result": lost}
    assert tally["reasons"] == ["outbox full"]


def test_the_file_stays_bounded_whatever_comes(open_box, maker, tmp_path):
    box = open_box(max_mb=1)
    rng = random.Random(1)
    sizes = []
    for n in range(6000):
        box.put(maker.of(rng.choice(["event", "result", "result", "status"]), rng.randrange(20, 1500), n))
        if n % 50 == 0:
            time.sleep(0.005)
            sizes.append(sum(f.stat().st_size for f in (tmp_path / "state").glob("outbox.db*") if "shm" not in f.name))
    assert max(sizes) <= 1_000_000
    assert box.stats().lost > 1000


def test_a_message_over_the_cap_is_counted_and_harms_nothing(open_box, maker):
    box = open_box(max_message_kb=1)
    box.put(maker.status(n=1))
    box.put(maker.status(size=2000, n=2))
    box.put(maker.status(n=3))
    assert numbers(take_all(box)) == [1, 3]
    (gap,) = take_with_gap(box)
    tally = json.loads(gap.message.payload)["status"]["gap"]
    assert tally["reasons"] == ["message too large"]
    assert tally["lost"]["status"] == 1
    assert box.stats().lost == 1


DAMAGE = {
    "truncated": lambda data: data[: len(data) // 2],
    "cut to nothing": lambda data: b"",
    "cut to an odd length": lambda data: data[:1500],
    "noise": lambda data: random.Random(3).randbytes(len(data)),
    "noise behind the header": lambda data: data[:1024] + random.Random(4).randbytes(len(data) - 1024),
    "noise in the middle": lambda data: data[:20000] + random.Random(5).randbytes(3000) + data[23000:],
    "another program's file": lambda data: b"#!/bin/sh\nexit 1\n",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_told_of_and_does_not_stop_it(open_box, maker, tmp_path, damage):
    box = open_box()
    for n in range(200):
        box.put(maker.status(n=n))
    last = box.take("a", 500, 0.0)[-1].message.seq
    box.close()
    path = tmp_path / "state" / "outbox.db"
    path.write_bytes(damage(path.read_bytes()))
    again = open_box()
    again.put(maker.status(n=999))
    got = take_with_gap(again)
    assert 999 in numbers(got)
    gaps = [json.loads(item.message.payload)["status"]["gap"] for item in got if numbers([item]) == [None]]
    assert gaps[0]["unknown"]
    assert gaps[0]["reasons"][0] in ("outbox file damaged", "message damaged on disk", "outbox file missing")
    fresh = [item.message.seq for item, n in zip(got, numbers(got)) if n == 999]
    assert fresh[0] > last, "no number is used again"


def damaged(data, rng):
    """Some of the bytes of a file replaced by noise or zeros, or its end cut off."""
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 3, 20])):
        at, size = rng.randrange(len(data)), rng.choice([1, 4, 50, 1024, 5000])
        data[at : at + size] = (rng.randbytes if rng.random() < 0.7 else bytes)(min(size, len(data) - at))
    return data[: rng.randrange(len(data))] if rng.random() < 0.2 else data


def test_no_damage_stops_it_or_makes_messages_up(open_box, maker, tmp_path):
    box = open_box("a", "b", folder=tmp_path / "whole")
    for n in range(400):
        box.put(maker.status(n=n))
    take_all(box, "a", limit=90)
    until(lambda: box.stats().in_memory == 0)
    shutil.copytree(tmp_path / "whole", tmp_path / "running")  # with what the log holds
    box.close()
    for seed in range(40):
        rng = random.Random(seed)
        folder = tmp_path / f"damaged-{seed}"
        shutil.copytree(tmp_path / rng.choice(["whole", "running"]), folder)
        (folder / "outbox.db-shm").unlink(missing_ok=True)
        victim = rng.choice([part for part in folder.glob("outbox.db*") if part.stat().st_size])
        victim.write_bytes(damaged(victim.read_bytes(), rng))
        again = open_box("a", "b", folder=folder)
        again.put(maker.status(n=999))
        for sink in ("a", "b"):
            got = numbers(take_all(again, sink))
            assert 999 in got, f"seed {seed}"
            assert set(got) <= {*range(400), 999, None}
        again.close()


def test_a_file_that_breaks_while_running_is_replaced(open_box, maker, tmp_path):
    box = open_box("a", "b")
    for n in range(2000):
        box.put(maker.status(n=n))
    until(lambda: box.stats().in_memory == 0)
    path = tmp_path / "state" / "outbox.db"
    for part in (path, path.with_name("outbox.db-wal")):
        part.write_bytes(random.Random(1).randbytes(part.stat().st_size))
    take_with_gap(box)
    for n in range(300, 600):
        box.put(maker.status(n=n))
    assert numbers(take_all(box)) == list(range(300, 600))
    until(lambda: box.stats().stored >= 300)
    box.close()
    assert numbers(take_all(open_box("a", "b"), "b"))[-300:] == list(range(300, 600))


def test_a_second_process_is_kept_out(open_box, tmp_path):
    open_box()
    with pytest.raises(ConfigError, match="in use by another edge-app"):
        open_box()


def test_a_clash_of_configuration_does_not_close_the_first(open_box, maker):
    box = open_box()
    with pytest.raises(ConfigError):
        open_box()
    box.put(maker.status(n=1))
    box.close()
    assert numbers(take_all(open_box())) == [1]


def test_an_unusable_folder_leaves_memory(open_box, maker, tmp_path):
    (tmp_path / "file").write_text("not a folder")
    box = open_box(folder=tmp_path / "file" / "state", max_memory_mb=0.05)
    assert "Not a directory" in box.stats().problem
    for n in range(500):
        box.put(maker.status(n=n))
    stats = box.stats()
    assert stats.in_memory < 250, "bounded"
    assert stats.lost == 500 - stats.in_memory
    *got, gap = take_with_gap(box)
    assert numbers(got) == list(range(stats.lost, 500))
    assert json.loads(gap.message.payload)["status"]["gap"]["reasons"] == ["memory full"]


def test_a_folder_that_becomes_usable_is_used(open_box, maker, tmp_path):
    first = open_box()
    for n in range(3):
        first.put(maker.status(n=n))
    first.close()
    (tmp_path / "state").rename(tmp_path / "away")
    (tmp_path / "state").write_text("in the way")
    box = open_box()
    for n in range(3, 6):
        box.put(maker.status(n=n))
    assert numbers(box.take("a", 10, 0.0)) == [3, 4, 5]
    (tmp_path / "state").unlink()
    (tmp_path / "away").rename(tmp_path / "state")
    until(lambda: box.stats().problem is None)
    assert numbers(take_all(box)) == list(range(6)), "what was kept comes first"


def test_refused_messages_are_kept_aside_bounded(open_box, maker, tmp_path):
    box = open_box()
    for n in range(130):
        box.put(maker.status(n=n))
    for item in box.take("a", 200, 0.0):
        box.refuse("a", item, "400 Bad Request")
    box.close()
    store = Store(tmp_path / "state" / "outbox.db", 1 << 20)
    kept = store.refused()
    store.close()
    assert len(kept) == 100
    assert kept[-1][:2] == ("a", "400 Bad Request")
    assert json.loads(kept[-1][2])["status"]["n"] == 129


class Unsynced(SystemClock):
    """This device's clock before and after the time was set."""

    offset_ns = -86_400_000_000_000 * 365
    is_synced = False

    def utc_ns(self):
        return super().utc_ns() + self.offset_ns

    def synced(self):
        return self.is_synced


def test_time_is_corrected_once_the_clock_is_set():
    clock = Unsynced()
    maker = Maker(clock=clock)
    message = maker.status()(1)
    true_utc_ns = time.time_ns()
    assert corrected(message, clock) is message
    clock.offset_ns, clock.is_synced = 0, True
    fixed = corrected(message, clock)
    body = json.loads(fixed.payload)
    assert body["utc_corrected"] is True
    assert body["clock_synced"] is True
    assert abs(decode(fixed.payload).utc_ns - true_utc_ns) < 50_000_000
    assert fixed.id == message.id
    jsonschema.validate(body, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))


def test_time_of_another_boot_is_left_alone():
    clock = Unsynced()
    payload = Maker(clock=clock).status()(1).payload.replace(clock.boot_id.encode(), b"another-boot")
    clock.offset_ns, clock.is_synced = 0, True
    message = decode(payload)
    assert corrected(message, clock) is message


def test_numbers_are_never_used_twice(tmp_path):
    path = tmp_path / "sequence"
    used = []
    for _ in range(5):
        numbers_ = Sequence(path)
        used += [numbers_.take() for _ in range(10)]
    assert used == sorted(set(used))


def test_numbers_go_on_at_random_where_the_reservation_is_lost(tmp_path):
    path = tmp_path / "sequence"
    bits = iter([5, 9, 7])
    first = Sequence(path, lambda n: next(bits)).take()
    assert first == 5 * BLOCK
    path.write_bytes(path.read_bytes().replace(b"6", b"7", 1))
    assert Sequence(path, lambda n: next(bits)).take() == 9 * BLOCK, "its checksum does not match"
    assert Sequence(tmp_path / "none" / "sequence", lambda n: 7).take() == 7 * BLOCK


def test_numbers_do_not_wait_for_a_disk_that_refuses(tmp_path):
    numbers_ = Sequence(tmp_path / "none" / "sequence")
    assert len({numbers_.take() for _ in range(3)}) == 3
    assert not os.path.exists(tmp_path / "none")


class Flaky:
    """A sink whose other side does what the test says: each entry of `plan` is an error, or how many arrive."""

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


@pytest.fixture
def deliver(open_box, maker):
    started = []

    def start(box, name, sink, backoff=None):
        delivery = Delivery(name, sink, box, maker.clock, backoff=backoff or Backoff(0.01, 0.02), rng=random.Random(1))
        delivery.start()
        started.append((box, delivery))
        return delivery

    yield start
    for box, delivery in started:
        delivery.stop()
        box.drain()
        delivery.join(5)


def test_a_sink_that_fails_gets_everything_in_order(open_box, maker, deliver):
    box = open_box()
    away = SinkError("away", retry=True)
    sink = Flaky([away, 3, 0, away, ValueError("a bug"), 1, away])
    delivery = deliver(box, "a", sink)
    for n in range(40):
        box.put(maker.status(n=n))
    until(lambda: box.stats().queued["a"] == 0)
    seqs = [int(id_.rsplit("-", 1)[1]) for id_ in sink.got]
    assert seqs == list(range(seqs[0], seqs[0] + 40))
    assert delivery.failed == 5
    assert delivery.sent == 40


def test_what_is_refused_is_found_and_the_rest_goes_on(open_box, maker, deliver):
    box = open_box()
    for n in range(20):
        box.put(maker.status(n=n))
    ids = [item.message.id for item in box.take("a", 50, 0.0)]
    sink = Flaky()
    sink.bad = {ids[3], ids[11]}
    delivery = deliver(box, "a", sink)
    until(lambda: box.stats().queued["a"] == 0)
    assert [id_ for id_ in ids if id_ not in sink.bad] == sink.got
    assert delivery.refused == 2


def test_a_dead_sink_slows_no_other(open_box, maker, deliver):
    box = open_box("dead", "well")
    sink = Flaky()
    deliver(box, "dead", Flaky([SinkError("away", retry=True)] * 1000), Backoff(100, 300))
    deliver(box, "well", sink)
    started = time.monotonic()
    for n in range(1000):
        box.put(maker.status(n=n))
    until(lambda: len(sink.got) == 1000, 3.0)
    assert time.monotonic() - started < 3.0


def test_closing_closes_the_sink_and_keeps_the_rest(open_box, maker, deliver):
    box = open_box()
    sink = Flaky([4] + [SinkError("away", retry=True)] * 1000)
    delivery = deliver(box, "a", sink, Backoff(100, 300))
    for n in range(10):
        box.put(maker.status(n=n))
    until(lambda: delivery.failed)
    delivery.stop()
    box.drain()
    delivery.join(2)
    box.close()
    assert sink.closed == 1
    assert len(take_all(open_box())) == 10 - len(sink.got)


def test_full_jitter_spreads_and_is_bounded():
    rng = random.Random(7)
    waits = [Backoff(1, 300).wait_s(20, rng.uniform) for _ in range(2000)]
    assert min(waits) < 3
    assert 290 < max(waits) <= 300
    assert 140 < sum(waits) / len(waits) < 160
    assert Backoff(1, 300).wait_s(1, lambda low, high: high) == 1


def test_asked_for_time_is_waited(open_box, maker, deliver):
    box = open_box()
    sink = Flaky([SinkError("429", retry=True, after_s=0.5)])
    deliver(box, "a", sink)
    started = time.monotonic()
    box.put(maker.status())
    until(lambda: sink.got)
    assert 0.5 <= time.monotonic() - started < 1.5


def test_an_event_is_corrected_with_its_start():
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
    jsonschema.validate(body, json.loads(SCHEMA_FILE.read_text(encoding="utf-8")))
