"""The clocks that frames, events and messages are stamped with. They are passed in: a replay never reads a real one.

Not here: stage timing, which reads `time.perf_counter_ns` (pipeline/timing.py).
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import Protocol

_TIME_ERROR = 5  # adjtimex(2): "the system clock is not synchronized to a reliable server"
_TIMEX_BYTES = 256  # struct timex is 208 bytes on 64-bit, 128 on 32-bit kernels; the rest is slack


class Clock(Protocol):
    """Timestamps. monotonic_ns never steps; utc_ns may step, and is meaningless until `synced()`."""

    @property
    def boot_id(self) -> str: ...

    def monotonic_ns(self) -> int: ...

    def utc_ns(self) -> int: ...

    def synced(self) -> bool: ...


class SystemClock:
    """The device's clocks: CLOCK_BOOTTIME, which includes suspend, and CLOCK_REALTIME; `synced` asks adjtimex(2)."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._boot_id = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()

    @property
    def boot_id(self) -> str:
        return self._boot_id

    def monotonic_ns(self) -> int:
        return time.clock_gettime_ns(time.CLOCK_BOOTTIME)

    def utc_ns(self) -> int:
        return time.time_ns()

    def synced(self) -> bool:
        timex = ctypes.create_string_buffer(_TIMEX_BYTES)  # modes = 0: read only
        return self._libc.adjtimex(timex) not in (-1, _TIME_ERROR)


class ClipClock:
    """The clock of a replay. It starts at 0 and moves only by `advance`, so that outputs repeat byte for byte.

    Clips have no date: UTC counts from 1970-01-01T00:00:00Z and is marked as not synchronized.
    """

    boot_id = "00000000-0000-0000-0000-000000000000"

    def __init__(self, now_ns: int = 0) -> None:
        self._now_ns = now_ns

    def monotonic_ns(self) -> int:
        return self._now_ns

    def utc_ns(self) -> int:
        return self._now_ns

    def synced(self) -> bool:
        return False

    def advance(self, by_ns: int) -> None:
        self._now_ns += by_ns
