"""The files of clips, within a limit of bytes: the oldest are deleted first.

A clip has its final name only once it is complete and on the disk; a power cut leaves a file `.NAME`, which the next
start deletes. The order does not depend on the clock. Not here: encoding (encoders.py).
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from threading import Lock

from edge_app.clips.encoders import SUFFIXES

_MIN_STEP_NS = 1_000_000


class ClipFolder:
    """The clips of one folder. `add` is used by one thread, `path` and `names` by any."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self._max_bytes = max_bytes
        self._lock = Lock()
        self._sizes: dict[str, int] = {}  # oldest first
        self._latest_ns = 0  # time of the newest file
        self.bytes = 0

    def prepare(self) -> None:
        """Create the folder, register the clips of an earlier run, delete incomplete ones. Raises OSError."""
        self.folder.mkdir(parents=True, exist_ok=True)
        found = []
        for path in self.folder.iterdir():
            status = path.lstat()
            if path.suffix not in SUFFIXES or not stat.S_ISREG(status.st_mode):
                continue
            if path.name.startswith(".") or not status.st_size:
                path.unlink()
            else:
                found.append((status.st_mtime_ns, path.name, status.st_size))
        for time_ns, name, size in sorted(found):
            self._register(name, size, time_ns)
        self._delete_oldest()

    def temporary(self, name: str) -> Path:
        """Where to write a clip before `add`."""
        return self.folder / f".{name}"

    def add(self, name: str) -> int:
        """Put a complete clip into the folder, and delete the oldest ones over the limit. Returns its size.

        Raises OSError; the clip is then gone.
        """
        temporary = self.temporary(name)
        try:
            descriptor = os.open(temporary, os.O_RDWR | os.O_CLOEXEC)
            try:
                os.fsync(descriptor)  # else a power cut could leave an empty file under the final name
                status = os.fstat(descriptor)
                time_ns = max(status.st_mtime_ns, self._latest_ns + _MIN_STEP_NS)  # the clock may have been set back
                os.utime(descriptor, ns=(time_ns, time_ns))
            finally:
                os.close(descriptor)
            temporary.replace(self.folder / name)
        except OSError:
            self.discard(name)
            raise
        self._register(name, status.st_size, time_ns)
        self._delete_oldest()
        return status.st_size

    def discard(self, name: str) -> None:
        """Delete an incomplete clip."""
        with contextlib.suppress(OSError):
            self.temporary(name).unlink()

    def path(self, name: str) -> Path | None:
        """The file of a clip; None if it does not exist or was deleted."""
        with self._lock:
            return self.folder / name if name in self._sizes else None

    def names(self) -> list[str]:
        """All clips, oldest first."""
        with self._lock:
            return list(self._sizes)

    def _register(self, name: str, size: int, time_ns: int) -> None:
        with self._lock:
            self.bytes += size - self._sizes.pop(name, 0)
            self._sizes[name] = size
            self._latest_ns = time_ns

    def _delete_oldest(self) -> None:
        with self._lock:
            while self.bytes > self._max_bytes:
                name = next(iter(self._sizes))
                self.bytes -= self._sizes.pop(name)
                with contextlib.suppress(OSError):
                    (self.folder / name).unlink()
