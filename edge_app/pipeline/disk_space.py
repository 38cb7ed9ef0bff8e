"""Whether the disk of state_dir is full. Not here: what the outbox does then (outbox/), the event (faults.py)."""

from __future__ import annotations

import os
from pathlib import Path

from edge_app.frame import JsonValue

_FULL_BYTES, _ROOM_BYTES = (
    1_000_000,
    2_000_000,
)  # free: full below the first, no longer above the other


class DiskSpace:
    """The fault `disk` of a folder. Call `fault` regularly."""

    def __init__(self) -> None:
        self._full = False

    def fault(self, folder: Path, problem: str | None) -> dict[str, JsonValue] | None:
        """The value of the fault, or None. problem: why the outbox cannot use the disk, or None.

        The value does not have the number of free bytes, which would change all the time.
        """
        try:
            status = os.statvfs(folder)
        except OSError as exc:
            return {"full": False, "error": problem or f"{folder}: {exc.strerror}"}
        free = status.f_bavail * status.f_frsize
        no_inodes = status.f_files > 0 and status.f_favail == 0  # some file systems count none
        self._full = no_inodes or free < (_ROOM_BYTES if self._full else _FULL_BYTES)
        if self._full:
            return {"full": True, "error": problem or f"{folder}: {'no inodes' if no_inodes else 'no space'} left"}
        return None if problem is None else {"full": False, "error": problem}
