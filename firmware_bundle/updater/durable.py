"""Files of the updater: reads that never block, and writes that are on the disk when a function returns.

Not here: what the files mean (bundle.py, releases.py).
"""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".tmp"  # suffix of a name that is being created or removed; ignored everywhere
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a FIFO", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a link", stat.S_IFSOCK: "a socket",
}  # fmt: skip


def open_file(path: Path, max_bytes: int, *, follow_links: bool = False) -> BinaryIO:
    """Open a regular file for reading; never blocks.

    Raises OSError for any other type of file, and for more than `max_bytes`; `strerror` says what was found.
    follow_links: only for folders that root alone can write to.
    """
    _require_regular(path.stat() if follow_links else path.lstat(), max_bytes)  # opening a device may act on it
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(path, flags if follow_links else flags | os.O_NOFOLLOW)
    try:
        _require_regular(os.fstat(fd), max_bytes)  # another file may have replaced it
        return os.fdopen(fd, "rb")
    except OSError:
        os.close(fd)
        raise


def read_file(path: Path, max_bytes: int, *, follow_links: bool = False) -> bytes:
    """Read a whole file. Conditions and errors are those of `open_file`."""
    with open_file(path, max_bytes, follow_links=follow_links) as file:
        return file.read(os.fstat(file.fileno()).st_size)


def discard(path: Path) -> None:
    """Remove a file, link or empty folder; rename a folder with contents to a hidden name. Follows no links.

    Takes constant time and memory: another user may have made a tree of any size. Raises OSError.
    """
    try:
        path.unlink(missing_ok=True)
    except IsADirectoryError:
        try:
            path.rmdir()
        except OSError:
            path.rename(path.with_name(f".{path.name[:100]}.{os.urandom(8).hex()}{UNFINISHED}"))


def rename_over(path: Path, target: Path) -> None:
    """Rename a file or link; it replaces a folder too. Durable after `sync_folder`."""
    try:
        path.rename(target)
    except IsADirectoryError:
        discard(target)
        path.rename(target)


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
    discard(fresh)
    write_new(fresh, [data], mode)
    rename_over(fresh, path)
    sync_folder(path.parent)


def set_link(link: Path, target: str) -> None:
    """Create or change a symbolic link atomically."""
    fresh = link.with_name(link.name + UNFINISHED)
    discard(fresh)
    fresh.symlink_to(target)
    rename_over(fresh, link)
    sync_folder(link.parent)


def make_folders(folder: Path) -> None:
    """Create a folder and its missing parents, and sync each name."""
    for each in reversed([f for f in (folder, *folder.parents) if not f.exists()]):
        each.mkdir(exist_ok=True)
        sync_folder(each.parent)


def remove_tree(folder: Path) -> None:
    """Rename a folder to an ignored name, then remove it: a power cut leaves no partial folder under the real name.

    Also removes a file or link.
    """
    if folder.is_symlink() or not folder.is_dir():
        discard(folder)
        return
    doomed = folder
    if folder.suffix != UNFINISHED:
        doomed = folder.with_name(folder.name + UNFINISHED)
        if os.path.lexists(doomed):
            remove_tree(doomed)
        folder.rename(doomed)
        sync_folder(folder.parent)
    shutil.rmtree(doomed)


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold the lock of the updater."""
    lock, flags = root / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with suppress(FileNotFoundError):
        if not stat.S_ISREG(lock.lstat().st_mode):
            discard(lock)
    fd = os.open(lock, flags, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _require_regular(status: os.stat_result, max_bytes: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        found = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise OSError(errno.EINVAL, f"found {found}; expected a regular file")
    if status.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"found {status.st_size:,} bytes; expected at most {max_bytes:,}")
