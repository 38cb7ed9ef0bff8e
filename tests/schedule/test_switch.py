"""A schedule on an injected clock that steps: no run is started twice, and none is left out."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from edge_app.schedule import Switch, Weekly, Window

S = 1_000_000_000
UTC = timezone.utc
DAY = int(datetime(2026, 11, 27, tzinfo=UTC).timestamp())


class Wall:
    """A schedule from 07:00 to 19:00, and a clock. runs: how often it was switched on."""

    def __init__(self, start_s: int, *windows: Window) -> None:
        self.switch = Switch(Weekly(windows or [Window("mon-sun", "07:00", "19:00")]))
        self.monotonic_s, self.utc_s = 1000, DAY + start_s
        self.runs: list[int] = []
        self.on = False
        self.on_s = 0

    def wait(self, seconds: int, every_s: int = 1) -> None:
        for _ in range(0, seconds, every_s):
            on = self.switch.update(self.monotonic_s * S, self.utc_s * S, UTC)
            if on and not self.on:
                self.runs.append(self.utc_s - DAY)
            self.on = on
            self.on_s += every_s * on
            self.monotonic_s += every_s
            self.utc_s += every_s

    def step(self, seconds: int) -> None:
        self.utc_s += seconds


@pytest.mark.parametrize("back_s", [1, 10, 3600, 3 * 3600])
def test_a_step_back_over_the_start_starts_no_second_run(back_s):
    wall = Wall(6 * 3600 + 3590)
    wall.wait(20)
    wall.step(-back_s)
    wall.wait(4 * 3600, 10)
    assert wall.runs == [7 * 3600]


def test_a_step_back_over_the_end_starts_no_second_run():
    wall = Wall(18 * 3600 + 3590)
    wall.wait(20)
    wall.step(-15)
    wall.wait(60)
    assert wall.runs == [18 * 3600 + 3590]
    assert not wall.on


@pytest.mark.parametrize("forward_s", [10, 600, 5 * 3600])
def test_a_step_forward_over_the_start_starts_the_run(forward_s):
    wall = Wall(6 * 3600 + 3595)
    wall.wait(2)
    wall.step(forward_s)
    wall.wait(2)
    assert wall.on
    assert len(wall.runs) == 1


def test_a_run_that_a_step_skips_starts_late_and_runs_once():
    wall = Wall(6 * 3600, Window("mon-sun", "07:00", "07:10"))
    wall.wait(60)
    wall.step(2 * 3600)
    wall.wait(3600, 10)
    assert len(wall.runs) == 1
    assert wall.on_s == 600


def test_repeated_small_steps_run_every_window_of_the_day_once():
    windows = [Window("mon-sun", f"{hour:02}:00", f"{hour:02}:20") for hour in range(1, 6)]
    wall = Wall(0, *windows)
    for n in range(6 * 60):
        wall.wait(60, 20)
        wall.step(37 if n % 2 else -37)
    assert len(wall.runs) == len(windows)


def test_after_a_correction_of_days_only_the_new_time_counts():
    wall = Wall(12 * 3600)
    wall.wait(5)
    wall.step(-9 * 3600)
    wall.wait(5)
    assert not wall.on


def test_a_suspended_device_is_not_a_step():
    wall = Wall(6 * 3600, Window("mon-sun", "07:00", "07:10"))
    wall.wait(5)
    wall.monotonic_s += 2 * 3600
    wall.step(2 * 3600)
    wall.wait(5)
    assert wall.runs == []


def test_until_the_clock_is_set_it_is_on():
    switch = Switch(Weekly([Window("mon-sun", "07:00", "19:00")]))
    assert switch.update(S, None, UTC)
    assert switch.next_change_s(UTC) is None
    assert not switch.update(2 * S, DAY * S, UTC)
    assert switch.next_change_s(UTC) == DAY + 7 * 3600
