"""SystemClock agrees with the kernel; ClipClock never moves by itself."""

from __future__ import annotations

import time

from edge_app.clock import ClipClock, SystemClock


def test_the_system_clock_agrees_with_the_kernel():
    clock = SystemClock()
    before, now, after = time.clock_gettime_ns(time.CLOCK_BOOTTIME), clock.monotonic_ns(), None
    after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
    assert before <= now <= after
    assert abs(clock.utc_ns() - time.time_ns()) < 1e9
    assert len(clock.boot_id) == 36


def test_synced_is_stable():
    """The command `adjtimex` is rarely installed: check only that the answer does not change."""
    clock = SystemClock()
    assert clock.synced() in (True, False)
    assert clock.synced() == clock.synced()


def test_the_clip_clock_moves_only_by_advance():
    clock = ClipClock()
    assert (clock.monotonic_ns(), clock.utc_ns(), clock.synced()) == (0, 0, False)
    clock.advance(5)
    assert clock.monotonic_ns() == 5
