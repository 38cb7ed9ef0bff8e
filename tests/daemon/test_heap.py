"""The C library's heap, measured in subprocesses: a single arena, and free memory returned to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has arenas")

ARENAS = """
import ctypes, sys, threading
from edge_app.daemon import heap
if "shared" in sys.argv:
    heap.share_one_arena()
together = threading.Barrier(8)
def allocate():
    together.wait()
    kept = [b"x" * (50_000 + i) for i in range(100)]
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""
FREED = """
import os
from edge_app.daemon import heap
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
blocks = [b"x" * (100_000 + i) for i in range(300)]
last = b"x" * 100_000  # at the end of the heap: free memory below it is not returned automatically
del blocks
before = resident()
heap.trim()
print(before - resident())
"""


def printed(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=PROJECT, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def test_threads_share_one_arena():
    assert printed(ARENAS, "shared").count("<heap ") == 1
    assert printed(ARENAS).count("<heap ") > 1, "without the call there are several arenas"


def test_trim_returns_free_memory():
    assert int(printed(FREED)) > 20_000_000
