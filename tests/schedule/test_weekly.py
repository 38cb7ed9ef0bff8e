"""Weekly windows in local time, also when the clocks change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest

from edge_app.schedule import Weekly, Window

BERLIN = ZoneInfo("Europe/Berlin")
SPRING, AUTUMN = (2026, 3, 29), (2026, 10, 25)
OFFICE = Window("mon-fri", "07:00", "19:00")


def utc_s(*local: int, fold: int = 0, zone=BERLIN) -> int:
    return int(datetime(*local, tzinfo=zone, fold=fold).timestamp())


def minutes_on(window: Window, day: tuple[int, int, int], zone=BERLIN) -> list[list[int]]:
    """The runs within 2 days around a day, as lists of minutes since 1970, by asking every ten minutes."""
    weekly, start = Weekly([window]), utc_s(*day, zone=zone) // 60 - 24 * 60
    runs: list[list[int]] = []
    for minute in range(start, start + 3 * 24 * 60, 10):
        if weekly.contains(minute * 60, zone):
            if not runs or runs[-1][-1] != minute - 10:
                runs.append([])
            runs[-1].append(minute)
    return runs


@pytest.mark.parametrize(
    ("local", "on"),
    [
        ((2026, 11, 27, 6, 59, 59), False),  # a Friday
        ((2026, 11, 27, 7, 0), True),
        ((2026, 11, 27, 18, 59, 59), True),
        ((2026, 11, 27, 19, 0), False),
        ((2026, 11, 28, 12, 0), False),
    ],
)
def test_a_window_is_on_from_its_start_until_before_its_end_on_its_days(local, on):
    assert Weekly([OFFICE]).contains(utc_s(*local), BERLIN) is on


@pytest.mark.parametrize(
    ("local", "on"),
    [
        ((2026, 11, 27, 5, 0), False),  # Friday: Thursday night has no window
        ((2026, 11, 27, 21, 59), False),
        ((2026, 11, 27, 22, 0), True),
        ((2026, 11, 28, 0, 0), True),
        ((2026, 11, 28, 5, 59), True),
        ((2026, 11, 28, 6, 0), False),
        ((2026, 11, 28, 23, 0), False),
    ],
)
def test_a_night_belongs_to_the_day_on_which_it_starts(local, on):
    assert Weekly([Window("fri", "22:00", "06:00")]).contains(utc_s(*local), BERLIN) is on


def test_without_windows_it_is_always_on():
    assert Weekly([]).contains(0, BERLIN)
    assert Weekly([]).next_change(0, timezone.utc) is None


def test_several_windows_are_a_union():
    weekly = Weekly([Window("mon-sun", "07:00", "09:00"), Window("mon-sun", "08:00", "10:00"), Window(to="00:30")])
    hours = [hour for hour in range(24) if weekly.contains(utc_s(2026, 11, 27, hour), BERLIN)]
    assert hours == [0, 7, 8, 9]


@pytest.mark.parametrize(("day", "hours"), [(SPRING, 7), (AUTUMN, 9)])
def test_a_night_on_which_the_clocks_change_ends_at_its_local_time(day, hours):
    before = datetime(*day) - timedelta(days=1)
    runs = minutes_on(Window("sat", "22:00", "06:00"), day)
    assert [10 * len(run) for run in runs] == [hours * 60]
    assert runs[0][0] * 60 == utc_s(before.year, before.month, before.day, 22)
    assert (runs[0][-1] + 10) * 60 == utc_s(*day, 6)


@pytest.mark.parametrize(
    ("from_", "to", "starts", "minutes"),
    [
        ("02:10", "02:50", (3, 0), 40),  # skipped as a whole: not left out
        ("02:00", "03:00", (3, 0), 60),
        ("01:00", "02:30", (1, 0), 60),
        ("02:30", "04:00", (3, 0), 60),
        ("01:30", "02:00", (1, 30), 30),
        ("03:00", "04:00", (3, 0), 60),
    ],
)
def test_a_window_in_the_skipped_hour_runs_once(from_, to, starts, minutes):
    (run,) = minutes_on(Window("sun", from_, to), SPRING)
    assert (run[0] * 60, 10 * len(run)) == (utc_s(*SPRING, *starts), minutes)


@pytest.mark.parametrize(
    ("from_", "to", "starts", "minutes"),
    [
        ("02:10", "02:50", (2, 10), 100),
        ("02:00", "03:00", (2, 0), 120),
        ("01:00", "02:30", (1, 0), 150),
        ("02:30", "04:00", (2, 30), 150),
        ("01:00", "02:00", (1, 0), 60),
        ("03:00", "04:00", (3, 0), 60),
    ],
)
def test_a_window_in_the_repeated_hour_runs_once(from_, to, starts, minutes):
    (run,) = minutes_on(Window("sun", from_, to), AUTUMN)
    assert (run[0] * 60, 10 * len(run)) == (utc_s(*AUTUMN, *starts), minutes)


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Kathmandu"])
@pytest.mark.parametrize("window", [OFFICE, Window("mon-sun", "22:00", "06:00"), Window("sun", "01:15", "02:45")])
def test_whenever_the_local_clock_shows_a_time_of_the_window_it_is_on(zone, window):
    weekly, local_zone = Weekly([window]), ZoneInfo(zone)
    start, end = window.minutes()
    for second in range(utc_s(2018, 1, 1), utc_s(2018, 12, 31), 17_777):
        local = datetime.fromtimestamp(second, local_zone)
        shown = local.hour * 60 + local.minute
        days = window.weekdays()
        in_window = (local.weekday() in days and start <= shown < end) or (
            (local.weekday() - 1) % 7 in days and shown + 24 * 60 < end
        )
        assert not in_window or weekly.contains(second, local_zone), local


def test_the_next_change_is_the_next_start_or_end():
    weekly = Weekly([OFFICE])
    assert weekly.next_change(utc_s(2026, 11, 27, 12), BERLIN) == utc_s(2026, 11, 27, 19)
    assert weekly.next_change(utc_s(2026, 11, 27, 19), BERLIN) == utc_s(2026, 11, 30, 7)
    assert Weekly([Window()]).next_change(utc_s(2026, 11, 27, 19), BERLIN) is None
    halves = Weekly([Window(to="12:00", days="mon"), Window("mon", "12:00")])
    assert halves.next_change(utc_s(2026, 11, 30, 3), BERLIN) == utc_s(2026, 12, 1)


@pytest.mark.parametrize(
    ("days", "expected"),
    [("mon-fri", {0, 1, 2, 3, 4}), ("sat, sun", {5, 6}), ("Fri-Mon", {4, 5, 6, 0}), (("mon", "wed-thu"), {0, 2, 3})],
)
def test_days_are_names_ranges_and_lists_of_them(days, expected):
    assert Window(days).weekdays() == expected


@pytest.mark.parametrize(
    ("window", "found"),
    [
        ({"days": "mo-fr"}, "days 'mo-fr'"),
        ({"days": ""}, "days ''"),
        ({"from_": "7"}, "from '7'"),
        ({"to": "24:01"}, "to '24:01'"),
        ({"to": "12:60"}, "to '12:60'"),
        ({"from_": "07:00", "to": "07:00"}, "from 07:00 to 07:00"),
        ({"from_": "24:00", "to": "07:00"}, "from 24:00 to 07:00"),
    ],
)
def test_rejects_other_days_and_times(window, found):
    with pytest.raises(ValueError, match=f"found {found}; expected"):
        Window(**window)
