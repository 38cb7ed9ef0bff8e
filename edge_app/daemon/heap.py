"""Keep the C library's heap small over years: a single arena, and free memory returned to the system.

glibc gives each thread its own arena. A rebuilt backend or camera starts a new thread, which fragments another arena:
over the 30,000 frames of tests/system/soak.py the free memory in arenas grew from 1.2 to 4.4 MB. With a C library that
lacks these calls (musl, uClibc) both functions do nothing. Not here: the memory limit (loop.py).
"""

from __future__ import annotations

import ctypes
import gc

_M_ARENA_MAX = -8  # malloc.h


def share_one_arena() -> None:
    """Make all threads share one arena. Call it when the process starts, before other threads."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def trim() -> None:
    """Return free pages to the kernel, also those of unreachable cycles.

    Call it after much memory was freed: loading a configuration and a model leaves cycles that Python collects late.
    """
    gc.collect()
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(0)
