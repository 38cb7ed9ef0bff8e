"""Turns of an engine: by priority and by the time that each camera has had; never more than the slots at once."""

from __future__ import annotations

from threading import Event, Thread

import pytest

from edge_app.inference.scheduler import Scheduler, Seat


class Clock:
    """A clock that only `run` moves."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Turns:
    """Cameras that always wait for their next turn, with turns of given lengths. One slot."""

    def __init__(self, lengths_s: dict[str, float], priorities: dict[str, int]) -> None:
        self.clock = Clock()
        self.scheduler = Scheduler(1, self.clock)
        self.seats = {name: self.scheduler.seat(priorities.get(name, 0)) for name in lengths_s}
        self.lengths_s = lengths_s
        self.counts = dict.fromkeys(lengths_s, 0)

    def run(self, turns: int) -> None:
        waiting = Event()
        blocker = self.scheduler.seat()
        held = Thread(target=blocker.run, args=(lambda _: waiting.wait(10), None))
        held.start()
        threads = [Thread(target=self._camera, args=(name, turns)) for name in self.seats]
        for thread in threads:
            thread.start()
        while len(self.scheduler._waiting) < len(threads):
            pass
        waiting.set()
        for thread in (held, *threads):
            thread.join(10)

    def _camera(self, name: str, turns: int) -> None:
        while sum(self.counts.values()) < turns:
            self.seats[name].run(self._turn, name)

    def _turn(self, name: str) -> None:
        self.clock.now_s += self.lengths_s[name]
        self.counts[name] += 1
        while self.others_run() and len(self.scheduler._waiting) < len(self.seats) - 1:
            pass  # so that all others ask before this turn ends

    def others_run(self) -> bool:
        return sum(self.counts.values()) < 90


def test_cameras_with_equal_turns_get_equally_many():
    turns = Turns({"a": 1.0, "b": 1.0, "c": 1.0}, {})
    turns.run(90)
    assert max(turns.counts.values()) - min(turns.counts.values()) <= 2


def test_a_camera_with_long_turns_gets_as_much_time_and_not_more():
    turns = Turns({"long": 4.0, "short": 1.0, "other": 1.0}, {})
    turns.run(90)
    assert turns.counts["short"] / turns.counts["long"] == pytest.approx(4, rel=0.15)


def test_one_more_priority_doubles_the_share():
    turns = Turns({"first": 1.0, "second": 1.0, "third": 1.0}, {"first": 1})
    turns.run(90)
    assert turns.counts["first"] / turns.counts["second"] == pytest.approx(2, rel=0.15)
    assert turns.counts["first"] / turns.counts["third"] == pytest.approx(2, rel=0.15)


def test_not_more_turns_at_once_than_slots():
    scheduler, go, inside = Scheduler(2), Event(), []

    def turn(number: int) -> None:
        inside.append(number)
        go.wait(10)

    threads = [Thread(target=scheduler.seat().run, args=(turn, n)) for n in range(5)]
    for thread in threads:
        thread.start()
    while len(scheduler._waiting) < 3:
        pass
    assert len(inside) == 2
    go.set()
    for thread in threads:
        thread.join(10)
    assert sorted(inside) == [0, 1, 2, 3, 4]


def test_a_turn_that_hangs_is_forfeited_and_counts_no_more():
    scheduler, go = Scheduler(1), Event()
    hung, other = scheduler.seat(), scheduler.seat()
    hanging = Thread(target=hung.run, args=(lambda _: go.wait(10), None))
    hanging.start()
    while hung.running is None:
        pass
    assert hung.running_s >= 0
    hung.forfeit()
    assert other.run(lambda value: value + 1, 1) == 2
    go.set()
    hanging.join(10)
    assert other.run(lambda value: value + 1, 2) == 3


def test_an_error_ends_the_turn():
    seat: Seat = Scheduler(1).seat()
    with pytest.raises(ZeroDivisionError):
        seat.run(lambda value: 1 / value, 0)
    assert seat.run(lambda value: value, 5) == 5
