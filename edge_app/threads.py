"""A thread that runs one stage, one item at a time, so that it overlaps with its neighbours and keeps order.

Inline is the same without a thread: for a replay, which nothing can hang, and which handing over would only slow down.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class Worker(Generic[In, Out]):
    """`submit` one item, `result` of it; never two in flight. An exception of the stage is raised by `result`.

    finish: called on the thread when it ends.
    """

    def __init__(self, stage: Callable[[In], Out], name: str, finish: Callable[[], None] | None = None) -> None:
        self._stage = stage
        self._finish = finish
        self._items: SimpleQueue[In | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Out | None, BaseException | None]] = SimpleQueue()
        self.busy = False
        self._thread = Thread(target=self._loop, name=name, daemon=True)  # a hung engine must not hold the exit
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether the thread runs, be it behind `close`."""
        return self._thread.is_alive()

    def submit(self, item: In) -> None:
        assert not self.busy
        self.busy = True
        self._items.put(item)

    def result(self, timeout_s: float | None = None) -> Out:
        """Wait for the submitted item. Raises TimeoutError where it takes longer, or whatever the stage raised."""
        try:
            value, error = self._results.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(f"{self._thread.name} did not finish within {timeout_s} s") from None
        self.busy = False
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # None only beside an error

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread behind the item in flight."""
        self._items.put(None)
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                self._results.put((self._stage(item), None))
            except BaseException as exc:  # noqa: BLE001  handed to the caller's thread whole
                self._results.put((None, exc))
        if self._finish is not None:
            self._finish()


class Inline(Generic[In, Out]):
    """As Worker, but the stage runs in `result`, on the caller's thread."""

    def __init__(self, stage: Callable[[In], Out], finish: Callable[[], None]) -> None:
        self._stage = stage
        self._finish: Callable[[], None] | None = finish
        self._item: In | None = None
        self.alive = True

    @property
    def busy(self) -> bool:
        return self._item is not None

    def submit(self, item: In) -> None:
        assert not self.busy
        self._item = item

    def result(self, timeout_s: float | None = None) -> Out:  # noqa: ARG002  it takes as long as it takes
        """Run the stage on the submitted item. Raises whatever it raises."""
        assert self._item is not None
        item, self._item = self._item, None
        return self._stage(item)

    def close(self, timeout_s: float = 0.0) -> None:  # noqa: ARG002
        """Drop what was submitted. Safe to call twice."""
        self._item, self.alive = None, False
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
