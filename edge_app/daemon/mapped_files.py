"""Release the memory of mapped files, mostly code of libraries, that was needed only while the process started.

The kernel does the same, but only once memory is short. A page that is needed again is mapped again, usually from the
page cache. Linux only; elsewhere, nothing happens.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

_MAPS = Path("/proc/self/smaps")
_MADV_DONTNEED = 4  # sys/mman.h


def release() -> int:
    """Unmap the pages of all files that this process only reads. Returns how many bytes that were."""
    madvise = getattr(ctypes.CDLL(None, use_errno=True), "madvise", None)
    released = 0
    with suppress(OSError):
        lines = _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        for start, length, resident in unchanged(lines):
            if madvise is not None and not madvise(ctypes.c_void_p(start), ctypes.c_size_t(length), _MADV_DONTNEED):
                released += resident
    return released


def unchanged(lines: Iterable[str]) -> Iterator[tuple[int, int, int]]:
    """Start, length and resident bytes of the file mappings in a text of /proc/PID/smaps that equal their file.

    Those that are writable, or have pages that are not the file's own (relocations), are left out.
    """
    start = end = resident = 0
    is_file = False
    for line in lines:
        name, _, rest = line.partition(" ")
        if not name.endswith(":"):  # start-end permissions offset device inode path
            begin, _, stop = name.partition("-")
            permissions, _, _, inode = rest.split()[:4]
            start, end, resident = int(begin, 16), int(stop, 16), 0
            is_file = inode != "0" and permissions.startswith("r-") and permissions.endswith("p")
        elif name == "Rss:":
            resident = int(rest.split()[0]) << 10
        elif name == "Anonymous:" and is_file and resident and rest.split()[0] == "0":
            yield start, end - start, resident
