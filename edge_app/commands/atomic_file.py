"""Replace a file atomically: after a crash or on a full disk it has the old content or the new one, never a part.

Not here: reading (options/files.py).
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def can_replace(path: Path) -> bool:
    """Whether this process may replace an existing file."""
    target = os.path.realpath(path)
    return os.access(target, os.W_OK) and os.access(os.path.dirname(target), os.W_OK)


def replace(path: Path, data: bytes) -> None:
    """Write a file; a link is followed, mode and owner are kept. Raises OSError; the old file is then unchanged."""
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.new")
    with contextlib.suppress(FileNotFoundError):
        temporary.unlink()  # left by a crash
    descriptor = os.open(temporary, _FLAGS, 0o600)
    try:
        try:
            _like(descriptor, target)
            _write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Make changed names in a folder durable, if the file system can."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _like(descriptor: int, target: Path) -> None:
    """Give a file the mode and owner of another, if there is one."""
    try:
        status = os.stat(target)
    except FileNotFoundError:
        return
    os.fchmod(descriptor, stat.S_IMODE(status.st_mode))
    if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, status.st_uid, status.st_gid)


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
