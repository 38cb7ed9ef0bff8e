"""Threads that run one pipeline stage, and the bookkeeping of threads that hang.

Not here: what a stage does, when it counts as hung (capture/, inference/).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Generic, Protocol, TypeVar

In = TypeVar("In")
Out = TypeVar("Out")


class MayBeAlive(Protocol):
    """A `threading.Thread`, or an object that owns one."""

    def is_alive(self) -> bool: ...


class AbandonedThreads:
    """Hung threads that were replaced. Python cannot end a thread; each keeps its memory until its call returns.

    limit: the number of threads that may hang at the same time. Not thread-safe.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._alive: list[MayBeAlive] = []
        self.total = 0  # ever added

    def add(self, thread: MayBeAlive) -> None:
        """Record a thread, and forget those that have ended since the last call."""
        self.total += 1
        self._alive = [abandoned for abandoned in (*self._alive, thread) if abandoned.is_alive()]

    @property
    def count(self) -> int:
        """Threads that still hung when the last one was added."""
        return len(self._alive)

    @property
    def over_limit(self) -> bool:
        """Whether too many threads hang. Only a new process frees them."""
        return self.count > self._limit


class Worker(Generic[In, Out]):
    """Runs a stage on its own thread, one item at a time: `submit` items, then fetch their results, in the same order.

    finish: called on the thread when it ends. notify: called on it when a result is there.
    """

    def __init__(
        self,
        stage: Callable[[In], Out],
        name: str,
        finish: Callable[[], None] | None = None,
        notify: Callable[[], None] | None = None,
    ) -> None:
        self._stage = stage
        self._finish = finish
        self._notify = notify
        self._items: SimpleQueue[In | None] = SimpleQueue()
        self._results: SimpleQueue[tuple[Out | None, BaseException | None]] = SimpleQueue()
        self._finished: deque[tuple[Out | None, BaseException | None]] = deque()  # fetched by `wait`
        self.pending = 0  # items whose result has not been fetched
        self._thread = Thread(target=self._loop, name=name, daemon=True)  # a hung stage must not block the exit
        self._thread.start()

    def is_alive(self) -> bool:
        """Whether the thread is running. It may be even after `close` if the stage hangs."""
        return self._thread.is_alive()

    def submit(self, item: In) -> None:
        """Start the stage on an item, after those that were submitted before."""
        self.pending += 1
        self._items.put(item)

    def wait(self) -> None:
        """Wait until the stage has finished with all submitted items, which `result` then returns at once."""
        while len(self._finished) < self.pending:
            self._finished.append(self._results.get())

    def result(self, timeout_s: float | None = None) -> Out:
        """Wait for the oldest item. Raises TimeoutError if it takes longer, or the exception of the stage."""
        try:
            value, error = self._finished.popleft() if self._finished else self._results.get(timeout=timeout_s)
        except Empty:
            raise TimeoutError(f"{self._thread.name} did not finish within {timeout_s} s") from None
        self.pending -= 1
        if error is not None:
            raise error
        return value  # type: ignore[return-value]  # None only if there is an error

    def close(self, timeout_s: float = 5.0) -> None:
        """End the thread after the items in flight."""
        self._items.put(None)
        self._thread.join(timeout_s)

    def _loop(self) -> None:
        while (item := self._items.get()) is not None:
            try:
                self._results.put((self._stage(item), None))
            except BaseException as exc:  # noqa: BLE001  raised again by `result`
                self._results.put((None, exc))
            if self._notify is not None:
                self._notify()
        if self._finish is not None:
            self._finish()


class Inline(Generic[In, Out]):
    """Has the methods of Worker, but runs the stage on the caller's thread, inside `result`.

    A replay on one core uses it: handing frames from thread to thread would only make it slower.
    """

    def __init__(self, stage: Callable[[In], Out], finish: Callable[[], None]) -> None:
        self._stage = stage
        self._finish: Callable[[], None] | None = finish
        self._item: In | None = None

    @property
    def pending(self) -> int:
        return 0 if self._item is None else 1

    def submit(self, item: In) -> None:
        """Store an item for `result`. Only one item may be in flight."""
        assert not self.pending
        self._item = item

    def wait(self) -> None:
        """Nothing to wait for: the stage runs inside `result`."""

    def result(self, timeout_s: float | None = None) -> Out:  # noqa: ARG002  the stage cannot be interrupted
        """Run the stage on the submitted item. Raises the exception of the stage."""
        assert self._item is not None
        item, self._item = self._item, None
        return self._stage(item)

    def close(self, timeout_s: float = 0.0) -> None:  # noqa: ARG002
        """Drop the submitted item. Safe to call twice."""
        self._item = None
        finish, self._finish = self._finish, None
        if finish is not None:
            finish()
