"""The log of open events: what a process finds that the one before left, at every moment."""

from __future__ import annotations

import time

import pytest

from edge_app.clock import SystemClock
from edge_app.frame import Event
from edge_app.messages import Encoder, Stamp
from edge_app.outbox.event_log import FILE, EventLog

ENCODER = Encoder("cam", SystemClock().boot_id, {})


def message(type_: str, event_id: str = "door-1", seq: int = 1):
    event = Event(type_, event_id, "door", "zone", 5, 5, None if type_ == "new" else 9, None if type_ == "new" else 9)
    return ENCODER.event(seq, event, Stamp(9, 9, False), "camera")


@pytest.fixture
def logs(tmp_path):
    """Open logs on one file, as a process after a kill: those before are not closed."""
    opened = []

    def open_():
        opened.append(EventLog(tmp_path / FILE))
        return opened[-1]

    yield open_
    for log in opened:
        log.close()


def settled_in_file(log, tmp_path, condition):
    end_s = time.monotonic() + 5
    while not condition((tmp_path / FILE).read_bytes()):
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_an_event_is_on_disk_before_record_returns(logs):
    new = logs().record(message("new"))
    found = logs().found["door-1"]
    assert (found.new, found.end, found.new_settled) == (new.payload, b"", False)


def test_an_end_is_kept_until_it_is_settled(logs, tmp_path):
    log = logs()
    new, end = log.record(message("new")), log.record(message("end", seq=2))
    log.settle(new)
    settled_in_file(log, tmp_path, lambda data: data.count(b"\n") == 3)
    found = logs().found["door-1"]
    assert (found.end, found.new_settled, found.end_settled) == (end.payload, True, False)
    log.settle(end)
    settled_in_file(log, tmp_path, lambda data: not data)
    assert logs().found == {}


def test_a_file_without_open_events_is_removed_at_the_end(logs, tmp_path):
    log = logs()
    for made in (message("new"), message("end", seq=2)):
        log.settle(log.record(made))
    log.close()
    assert not (tmp_path / FILE).exists()


def test_the_file_stays_small_while_an_event_stays_open(logs, tmp_path):
    log = logs()
    log.record(message("new", "open", 0))
    for number in range(1, 1000, 2):
        log.settle(log.record(message("new", f"e{number}", number)))
        log.settle(log.record(message("end", f"e{number}", number + 1)))
    assert (tmp_path / FILE).stat().st_size < 80_000
    assert "open" in logs().found


@pytest.mark.parametrize("cut", [2, 20, 300])
def test_a_line_that_a_power_cut_has_torn_is_left_out(logs, tmp_path, caplog, cut):
    log = logs()
    log.record(message("new", "a", 1))
    log.record(message("new", "b", 2))
    data = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(data[:-cut])
    assert list(logs().found) == ["a"]
    assert "damaged" in caplog.text


@pytest.mark.parametrize("data", [b"\0" * 4096, b"garbage\n" * 100, b'00000000 M {"a": 1}\n', bytes(range(256)) * 40])
def test_a_damaged_file_is_one_warning(logs, tmp_path, caplog, data):
    (tmp_path / FILE).write_bytes(data)
    log = logs()
    assert log.found == {}
    assert len(caplog.records) == 1
    log.record(message("new"))
    assert list(logs().found) == ["door-1"]


def test_a_folder_that_cannot_be_written_is_one_warning_and_does_not_stop_events(tmp_path, caplog):
    log = EventLog(tmp_path / "missing" / FILE)
    for number in range(5):
        log.record(message("new", f"e{number}", number))
    assert len(caplog.records) == 1
    (tmp_path / "missing").mkdir()
    log.record(message("new", "last", 9))
    assert len(EventLog(tmp_path / "missing" / FILE).found) == 6
    log.close()


def test_the_log_moves_to_another_folder(logs, tmp_path):
    log = logs()
    log.record(message("new"))
    (tmp_path / "other").mkdir()
    log.move(tmp_path / "other" / FILE)
    log.record(message("new", "b", 2))
    assert set(EventLog(tmp_path / "other" / FILE).found) == {"door-1", "b"}
    assert not (tmp_path / FILE).exists()
