"""File operations that survive a power cut: when a function returns, its result is on the disk.

Not here: what the files mean (bundle.py, releases.py).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".tmp"  # suffix of a name that is being created or removed; ignored everywhere


def sync_folder(folder: Path) -> None:
    """Sync the names in a folder. UBIFS writes back: without this a power cut may undo a rename."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: Path, pieces: Iterable[bytes], mode: int = 0o644) -> None:
    """Write a new file without following links. Its name is durable after `sync_folder`."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Replace a file atomically: a power cut leaves the old or the new content."""
    fresh = path.with_name(path.name + UNFINISHED)
    fresh.unlink(missing_ok=True)
    write_new(fresh, [data], mode)
    fresh.rename(path)
    sync_folder(path.parent)


def set_link(link: Path, target: str) -> None:
    """Create or change a symbolic link atomically."""
    fresh = link.with_name(link.name + UNFINISHED)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(link)
    sync_folder(link.parent)


def make_folders(folder: Path) -> None:
    """Create a folder and its missing parents, and sync each name."""
    for each in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def remove_tree(folder: Path) -> None:
    """Rename a folder to an ignored name, then remove it: a power cut leaves no partial folder under the real name."""
    doomed = folder
    if folder.suffix != UNFINISHED:
        doomed = folder.with_name(folder.name + UNFINISHED)
        if doomed.exists():
            shutil.rmtree(doomed)
        folder.rename(doomed)
        sync_folder(folder.parent)
    shutil.rmtree(doomed)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of the updater."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
