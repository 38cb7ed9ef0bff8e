"""The C library's heap, kept small over years: fewer arenas, and what is free given back.

glibc gives threads arenas of their own. A backend or camera that is made anew brings a new thread, which leaves holes
in another arena: over the 30,000 frames of tests/system/soak.py what lies free in them grew from 1.2 to 4.4 MB. Where
the C library knows neither (musl, uClibc) these functions do nothing. Not here: a limit to what is used, and what
happens beyond it (daemon.py).
"""

from __future__ import annotations

import ctypes

_M_ARENA_MAX = -8  # malloc.h


def share_one_arena() -> None:
    """Let the threads that start from here on allocate where all others do. For a process's start."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Return the pages that hold nothing to the kernel; takes about a millisecond. For when much was just freed."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
