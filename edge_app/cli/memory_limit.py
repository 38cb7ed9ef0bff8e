"""Limit the memory of this process, so that a model that asks for too much is an error instead of an emergency."""

from __future__ import annotations

import os
import resource
import sys
from contextlib import suppress
from pathlib import Path

_MIN_BYTES = 1 << 30  # a small board reserves more than it has: thread stacks, libraries


def limit_data(at_most: int | None = None) -> int:
    """Limit what this process may allocate from now on: the memory of this machine, at least 1 GiB. Returns bytes.

    at_most: a lower limit. An allocation beyond it fails, which the engines report.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:  # a root directory without /proc
        status = []
    used = next((int(line.split()[1]) << 10 for line in status if line.startswith("VmData")), 0)
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = max(physical, _MIN_BYTES)
    if at_most is not None:
        limit = min(limit, at_most)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    total = min(used + limit, sys.maxsize)  # 2 GiB on 32-bit systems
    with suppress(ValueError, OSError):  # not permitted in a sandbox, which has a limit of its own, such as MemoryMax=
        resource.setrlimit(resource.RLIMIT_DATA, (total if hard == resource.RLIM_INFINITY else min(total, hard), hard))
    return limit
