"""Detect a changed configuration file."""

from __future__ import annotations

from pathlib import Path


class FileWatch:
    """Detects that a file was replaced or rewritten, by its inode, size and modification time.

    optional: that it is deleted is a change too.
    """

    def __init__(self, path: Path, *, optional: bool = False) -> None:
        self._path, self._optional = path, optional
        self._reported = self._last = _identity(path)

    def mark_seen(self) -> None:
        """The present file is known: it is no change."""
        self._reported = self._last = _identity(self._path)

    def changed(self) -> bool:
        """Whether the file has changed since the last report and was the same in two consecutive calls.

        So a file that is still being written is not reported. A missing file is not a change, unless it is optional.
        """
        previous, self._last = self._last, _identity(self._path)
        if self._last == self._reported or self._last != previous or (self._last is None and not self._optional):
            return False
        self._reported = self._last
        return True


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
