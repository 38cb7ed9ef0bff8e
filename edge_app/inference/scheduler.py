"""Shares an inference engine among cameras: who runs next, by priority and by the time that each has had.

Weighted fair queueing (Demers, Keshav and Shenker, 1989; virtual time as by Goyal, Vin and Cheng, 1996): a turn starts
at a virtual time, and ends later by its length, estimated by the camera's last one, divided by the camera's weight. The
waiting turn with the earliest end is next; of equal ones, the oldest.
A camera that was idle gets no credit for it, and a camera that delivers too many frames takes nothing from the others.
Not here: what a turn runs (stage.py), which engine (shared_engine.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Scheduler:
    """Grants at most `slots` turns at a time. Thread-safe. now_s: a monotonic clock."""

    def __init__(self, slots: int = 1, now_s: Callable[[], float] = time.monotonic) -> None:
        self.slots = slots
        self.now_s = now_s
        self._lock = Lock()
        self._virtual_s = 0.0  # the start of the turn that was granted last
        self._waiting: list[_Turn] = []
        self._running: list[_Turn] = []

    def seat(self, priority: int = 0) -> Seat:
        """The place of one camera. priority: one more doubles its share while cameras wait."""
        return Seat(self, 2.0**priority)

    def take(self, seat: Seat) -> _Turn:
        """Wait until it is the seat's turn."""
        turn = _Turn(seat)
        with self._lock:
            turn.start_s = max(self._virtual_s, seat.finished_s)
            turn.end_s = turn.start_s + seat.length_s / seat.weight
            self._waiting.append(turn)
            self._grant()
        turn.granted.acquire()
        return turn

    def give_back(self, turn: _Turn) -> None:
        """End a turn. No effect on one that has ended."""
        with self._lock:
            if turn not in self._running:
                return
            self._running.remove(turn)
            turn.seat.length_s = self.now_s() - turn.begun_s
            turn.seat.finished_s = turn.start_s + turn.seat.length_s / turn.seat.weight
            turn.seat.running = None
            self._grant()

    def _grant(self) -> None:
        """Begin turns while slots are free, lock held."""
        while self._waiting and len(self._running) < self.slots:
            turn = min(self._waiting, key=lambda each: each.end_s)  # of equal ones, the oldest
            self._waiting.remove(turn)
            self._running.append(turn)
            self._virtual_s = max(self._virtual_s, turn.start_s)
            turn.begun_s = self.now_s()
            turn.seat.running = turn
            turn.granted.release()


class Seat:
    """The place of one camera: one turn at a time.

    weight: its share. finished_s: virtual end of its last turn. length_s: of that turn.
    """

    def __init__(self, scheduler: Scheduler, weight: float) -> None:
        self._scheduler = scheduler
        self.weight = weight
        self.finished_s = self.length_s = 0.0
        self.running: _Turn | None = None

    def run(self, call: Callable[[In], Out], argument: In) -> Out:
        """Call a function when it is this camera's turn."""
        turn = self._scheduler.take(self)
        try:
            return call(argument)
        finally:
            self._scheduler.give_back(turn)

    @property
    def running_s(self) -> float:
        """How long the present turn has lasted; 0 while the camera waits. For any thread."""
        turn = self.running
        return 0.0 if turn is None else self._scheduler.now_s() - turn.begun_s

    def forfeit(self) -> None:
        """End the present turn although its call hangs. For any thread."""
        turn = self.running
        if turn is not None:
            self._scheduler.give_back(turn)


def _held() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@dataclass(slots=True, eq=False)
class _Turn:
    """granted: released when it begins. start_s, end_s: virtual times. begun_s: time of the scheduler's clock."""

    seat: Seat
    start_s: float = 0.0
    end_s: float = 0.0
    begun_s: float = 0.0
    granted: Lock = field(default_factory=_held)
