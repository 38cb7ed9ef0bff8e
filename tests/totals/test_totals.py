"""Totals: counted once, kept over restarts, by hour and day, whatever clock and disk do."""

from __future__ import annotations

import json
import sqlite3
import time
from datetime import datetime, timezone

import pytest

from edge_app.cli import main
from edge_app.errors import ConfigError
from edge_app.frame import Event
from edge_app.totals import Totals, counter, report
from edge_app.totals.store import FILE, Bucket, Store

NOON_S = int(datetime(2026, 11, 27, 12, tzinfo=timezone.utc).timestamp())
HOUR_S = 3600
UTC = timezone.utc


class Wall:
    boot_id = "boot"

    def __init__(self, utc_s=NOON_S, *, is_set=True):
        self.utc_s, self.is_set = utc_s, is_set

    def monotonic_ns(self):
        return time.monotonic_ns()

    def utc_ns(self):
        return self.utc_s * 10**9

    def synced(self):
        return self.is_set


def crossing(direction="in", rule="gate", type_="new"):
    return Event(type_, "e", rule, "line", 0, 0, value={"direction": direction})


ENTERED = Event("new", "e", "yard", "zone", 0, 0)


@pytest.fixture
def totals(tmp_path, monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    opened = []

    def open_(clock=None, camera="cam"):
        opened.append(Totals(tmp_path, camera, clock or Wall()))
        return opened[-1]

    yield open_
    for each in opened:
        each.close()


def counts(status):
    rules = status["totals"]["rules"]
    return {(rule, name): tuple(count.values()) for rule, names in rules.items() for name, count in names.items()}


def test_crossings_and_entries_are_counted_once_each(totals):
    found = totals()
    found.count([crossing(), crossing(type_="end"), crossing("out"), crossing(), ENTERED])
    found.count([Event("new", "e", "crowd", "count", 0, 0), Event("update", "e", "yard", "zone", 0, 0)])
    assert counts(found.status()) == {
        ("gate", "in"): (2, 2, 2),
        ("gate", "out"): (1, 1, 1),
        ("yard", "entered"): (1, 1, 1),
    }


def test_they_are_kept_over_restarts_by_camera_day_and_hour(totals, tmp_path):
    for utc_s in (NOON_S - 24 * HOUR_S, NOON_S - HOUR_S, NOON_S):
        run = totals(Wall(utc_s))
        run.count([crossing()])
        run.close()
    other = totals(camera="other")
    assert other.status() == {}
    other.count([crossing()])
    other.close()
    assert counts(totals().status()) == {("gate", "in"): (3, 2, 1)}
    assert report.rows(tmp_path, "day", UTC) == [
        ("2026-11-26", "cam", "gate", "in", 1),
        ("2026-11-27", "cam", "gate", "in", 2),
        ("2026-11-27", "other", "gate", "in", 1),
    ]
    assert report.rows(tmp_path, "hour", UTC)[1] == ("2026-11-27T11:00+00:00", "cam", "gate", "in", 1)
    assert report.rows(tmp_path, "total", UTC)[0] == ("total", "cam", "gate", "in", 3)


def test_a_clock_that_steps_counts_nothing_twice(totals, tmp_path):
    clock = Wall()
    run = totals(clock)
    for step_s in (0, 90 * 60, -90 * 60, -26 * HOUR_S, 26 * HOUR_S, 1):
        clock.utc_s += step_s
        run.count([crossing()])
    run.close()
    assert sum(row[-1] for row in report.rows(tmp_path, "hour", UTC)) == 6
    assert sum(row[-1] for row in report.rows(tmp_path, "day", UTC)) == 6
    assert counts(totals().status())["gate", "in"][0] == 6


def test_before_the_clock_is_set_the_time_of_a_count_is_unknown(totals, tmp_path):
    clock = Wall(100, is_set=False)
    run = totals(clock)
    run.count([crossing()])
    clock.utc_s, clock.is_set = NOON_S, True
    run.count([crossing()])
    run.close()
    expected = [("2026-11-27", "cam", "gate", "in", 1), ("undated", "cam", "gate", "in", 1)]
    assert report.rows(tmp_path, "day", UTC) == expected


def test_it_writes_at_most_once_a_minute_and_when_the_hour_changes(totals, tmp_path, monkeypatch):
    written = []
    add = Store.add
    monkeypatch.setattr(Store, "add", lambda self, added, now_s: (written.append(dict(added)), add(self, added, now_s)))
    clock = Wall()
    run = totals(clock)
    run.count([crossing()])
    until(lambda: len(written) == 1)
    for _ in range(50):
        run.count([crossing()])
    time.sleep(0.2)
    assert len(written) == 1
    clock.utc_s += HOUR_S
    run.count([crossing()])
    until(lambda: len(written) == 2)
    run.close()
    assert counts(totals(clock).status()) == {("gate", "in"): (52, 52, 1)}


def until(condition):
    end_s = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_old_hours_and_days_are_deleted(tmp_path):
    store = Store(tmp_path / FILE)
    bucket = Bucket("cam", "gate", "in", "hour")
    hours = {bucket._replace(start=NOON_S - n * HOUR_S): 1 for n in range(40 * 24)}
    days = {bucket._replace(span="day", start=int(f"{year}1127")): 1 for year in range(2020, 2027)}
    store.add({**hours, **days}, NOON_S)
    store.close()
    assert len(report.rows(tmp_path, "hour", UTC)) == 31 * 24 + 1
    assert [row[0] for row in report.rows(tmp_path, "day", UTC)] == ["2024-11-27", "2025-11-27", "2026-11-27"]


@pytest.mark.parametrize("data", [b"garbage" * 1000, b"SQLite format 3\0" + bytes(4096)])
def test_a_damaged_file_is_one_warning_and_is_kept(totals, tmp_path, caplog, data):
    (tmp_path / FILE).write_bytes(data)
    run = totals()
    assert run.status() == {}
    run.count([crossing()])
    run.close()
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert (tmp_path / f"{FILE}.broken").read_bytes() == data
    assert counts(totals().status()) == {("gate", "in"): (1, 1, 1)}


def test_a_disk_that_cannot_be_written_keeps_the_counts_in_memory(totals, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(counter, "_WRITE_EVERY_S", 0.05)
    (tmp_path / FILE).mkdir()
    run = totals()
    for _ in range(3):
        run.count([crossing()])
        time.sleep(0.1)
    assert len(caplog.records) == 1
    (tmp_path / FILE).rmdir()
    run.close()
    assert counts(totals().status()) == {("gate", "in"): (3, 3, 3)}


def test_the_command_prints_a_table_csv_and_json(totals, tmp_path, config_file, capsys):
    path = config_file("device: {id: cam, state_dir: STATE}".replace("STATE", str(tmp_path)))
    run = totals()
    run.count([crossing(), ENTERED])
    run.close()
    assert main(["totals", "-c", str(path)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "period      camera  rule  count    n",
        "2026-11-27  cam     gate  in       1",
        "2026-11-27  cam     yard  entered  1",
    ]
    assert main(["totals", "-c", str(path), "--by", "hour", "--csv"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == "2026-11-27T12:00+00:00,cam,gate,in,1"
    assert main(["totals", "-c", str(path), "--by", "total", "--json"]) == 0
    first = {"period": "total", "camera": "cam", "rule": "gate", "count": "in", "n": 1}
    assert json.loads(capsys.readouterr().out)[0] == first


def test_the_command_prints_one_format(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["totals", "--csv", "--json"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("content", [None, b"garbage" * 1000])
def test_the_command_says_in_one_line_what_is_wrong_with_the_file(tmp_path, content):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    with pytest.raises(ConfigError, match=FILE):
        report.rows(tmp_path, "day", UTC)


def test_values_of_another_type_are_a_damage(tmp_path):
    Store(tmp_path / FILE).close()
    db = sqlite3.connect(tmp_path / FILE)
    db.execute("INSERT INTO counts VALUES (X'ff', 'a', 'b', 'day', 20261127, 'x')")
    db.commit()
    db.close()
    with pytest.raises(ConfigError, match="another type"):
        report.rows(tmp_path, "day", UTC)
