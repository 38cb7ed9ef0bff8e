"""Read files that a user, a model or a peer supplies: regular files only, limited in size, without blocking.

Every reader in the package calls `read_regular`. Not here: files of the kernel (/proc, /sys) and of this package.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

KIB, MIB = 1 << 10, 1 << 20
MAX_TEXT = MIB  # labels, credentials, certificates
_CHUNK = 64 * KIB
_KINDS = (
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def read_regular(path: Path, max_bytes: int, *, inside: Path | None = None) -> bytes:
    """Read a whole regular file; symbolic links are followed. inside: a folder that must contain the resolved path.

    Raises OSError, whose `strerror` says what was found, and never another exception: if the file cannot be read, is
    not a regular file, is larger than `max_bytes`, or is outside the folder.
    """
    try:
        where = os.path.realpath(path)
        if inside is not None:
            folder = os.path.realpath(inside)
            if os.path.commonpath([where, folder]) != folder:
                raise OSError(errno.EACCES, "Is a link to a file outside the folder")
        _check_kind(os.stat(where))  # before it is opened: opening a device may have effects
        fd = os.open(where, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | os.O_NOFOLLOW)
    except ValueError as exc:  # a null character, or a surrogate
        raise OSError(errno.EINVAL, "Is not a valid path") from exc
    try:
        return _read(fd, max_bytes)
    finally:
        os.close(fd)


def check_regular(path: Path) -> None:
    """Check that `path`, if it exists, is a regular file. Raises OSError, as `read_regular` does."""
    try:
        _check_kind(os.stat(path))
    except FileNotFoundError:
        return
    except ValueError as exc:
        raise OSError(errno.EINVAL, "Is not a valid path") from exc


def _read(fd: int, max_bytes: int) -> bytes:
    status = os.fstat(fd)
    _check_kind(status)
    if status.st_size > max_bytes:
        raise OSError(errno.EFBIG, f"Is larger than {_shown(max_bytes)}")
    parts = [os.read(fd, status.st_size + 1)]
    length = len(parts[0])
    while parts[-1]:  # the file may grow, and files in /proc state no size
        parts.append(os.read(fd, _CHUNK))
        length += len(parts[-1])
        if length > max_bytes:
            raise OSError(errno.EFBIG, f"Is larger than {_shown(max_bytes)}")
    return b"".join(parts)


def _check_kind(status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR))
    for matches, name in _KINDS:
        if matches(status.st_mode):
            raise OSError(errno.EINVAL, f"Is {name}, not a regular file")


def _shown(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB" if size >= KIB else f"{size} bytes"
