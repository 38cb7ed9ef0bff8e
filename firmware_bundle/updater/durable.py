"""File operations that a power cut cannot leave half done: what has returned is on the disk.

Not here: what the files mean (bundle.py, releases.py).
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

UNFINISHED = ".tmp"  # a name that ends so was being made or removed, and counts for nothing


def sync_folder(folder: Path) -> None:
    """Bring a folder's names to the disk. UBIFS writes back: without this a rename may be gone after a cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_new(path: Path, pieces: Iterable[bytes], mode: int = 0o644) -> None:
    """Write a file that is not there yet, following no link. Its name is durable once its folder is synced."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(path, flags, 0o600)
    with os.fdopen(fd, "wb") as file:
        for piece in pieces:
            file.write(piece)
        file.flush()
        os.fchmod(fd, mode)
        os.fsync(fd)


def replace(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Exchange a file's content: at any moment the old one or the new one is there, whole."""
    fresh = path.with_name(path.name + UNFINISHED)
    fresh.unlink(missing_ok=True)
    write_new(fresh, [data], mode)
    fresh.rename(path)
    sync_folder(path.parent)


def point(link: Path, target: str) -> None:
    """Make a symbolic link, or turn it to another target, at once."""
    fresh = link.with_name(link.name + UNFINISHED)
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(target)
    fresh.rename(link)
    sync_folder(link.parent)


def make_folders(folder: Path) -> None:
    """Create a folder and what it lies in, each name brought to the disk."""
    for each in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def remove_tree(folder: Path) -> None:
    """Remove a folder under a name that counts for nothing, so that no cut leaves part of it under its own."""
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
    """Keep a second updater out for as long as this lasts."""
    fd = os.open(root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
