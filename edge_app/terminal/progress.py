"""How far a long command is, on stderr: a bar on a terminal; elsewhere a line from time to time, for logs and pipes."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from types import TracebackType
from typing import IO, Any, TypeVar

_EVERY_S = 10.0  # between two lines

T = TypeVar("T")


class Progress:
    """Counts units, such as frames. total: their number; None while it is unknown. It may be set later.

    closing: after the last unit, print a line with their number, the time and the rate, unless an exception ends it.
    """

    def __init__(
        self,
        what: str,
        unit: str,
        total: int | None = None,
        *,
        closing: bool = False,
        stream: IO[str] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.total = total
        self._what, self._unit, self._closing = what, unit, closing
        self._stream = sys.stderr if stream is None else stream
        self._clock_s = clock_s
        self._count = 0
        self._start_s = self._printed_s = clock_s()
        self._bar: Any = None

    def __enter__(self) -> Progress:
        if self._stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=self.total, unit=f" {self._unit}", desc=self._what, file=self._stream, leave=False)
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()
        if kind is None and self._closing:
            took_s = self._clock_s() - self._start_s
            rate = f", {self._count / took_s:.1f} {self._unit}/s" if took_s > 0 else ""
            self._print(f"{self._count} {self._unit} in {took_s:.1f} s{rate}")

    def update(self, count: int = 1) -> None:
        """Count units that are done."""
        self._count += count
        if self._bar is not None:
            if self._bar.total != self.total:
                self._bar.total = self.total
            self._bar.update(count)
        elif self._clock_s() - self._printed_s >= _EVERY_S:
            self._printed_s = self._clock_s()
            self._print(self._state())

    def _state(self) -> str:
        if not self.total or self._count > self.total:  # a damaged file may declare too few
            return f"{self._count} {self._unit}"
        return f"{self._count} of {self.total} {self._unit}, {100 * self._count // self.total} %"

    def _print(self, text: str) -> None:
        print(f"{self._what}: {text}", file=self._stream, flush=True)


def over(items: Sequence[T], what: str, unit: str) -> Iterator[T]:
    """The items, each of which counts as one unit when the next one is asked for."""
    with Progress(what, unit, len(items)) as progress:
        for item in items:
            yield item
            progress.update()
