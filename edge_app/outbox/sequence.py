"""Message numbers that are never used twice, power cuts included: blocks are reserved on disk before use.

If the reservation cannot be read (a new device, an erased or damaged state folder) or written (a full or read-only
disk), numbering continues at a random number, so that an id is not given to a second message.
"""

from __future__ import annotations

import os
import secrets
import zlib
from collections.abc import Callable
from pathlib import Path

from edge_app.options.files import read_regular

BLOCK = 1 << 20  # 2**31 of them stay below 2**53, above which JSON readers lose precision
_MAX_NUMBER = 1 << 53
_MAX_BYTES = 64


class SequenceNumbers:
    """Rising numbers. For one thread; `reserve_ahead` may be called by one other. resumed: a reservation was found."""

    def __init__(self, path: Path, random_bits: Callable[[int], int] = secrets.randbits) -> None:
        self._path = path
        self._random_bits = random_bits
        start = _read(path)
        self.resumed = start is not None
        self._next = self._limit = self._random_start() if start is None else start
        self._reserved_to = self._limit
        if not self.reserve_ahead():
            self._jump()
        self._limit = self._reserved_to

    def next_number(self) -> int:
        """The next number. Never waits for the disk."""
        if self._next >= self._limit:
            if self._reserved_to > self._limit:
                self._limit = self._reserved_to
            else:
                self._jump()
        self._next += 1
        return self._next - 1

    def reserve_ahead(self) -> bool:
        """Reserve the next block if half of this one is used. Returns False if it cannot be written."""
        if self._reserved_to - self._next > BLOCK // 2:
            return True
        limit = max(self._reserved_to, self._next) + BLOCK
        try:
            _write(self._path, limit)
        except OSError:
            return False
        self._reserved_to = limit
        return True

    def _jump(self) -> None:
        self._next = self._random_start()
        self._limit = self._reserved_to = self._next + BLOCK

    def _random_start(self) -> int:
        return self._random_bits(31) * BLOCK


def _read(path: Path) -> int | None:
    """The reservation in a file, or None if there is none or its checksum does not match."""
    try:
        number, checksum = read_regular(path, _MAX_BYTES).split()
        return int(number) if checksum == _checksum(number) and 0 <= int(number) < _MAX_NUMBER else None
    except (OSError, ValueError):
        return None


def _write(path: Path, limit: int) -> None:
    """Replace the reservation atomically: after a power cut, the file has either the old or the new one."""
    number = b"%d" % limit
    fresh = path.with_name(path.name + ".new")
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(fd, number + b" " + _checksum(number) + b"\n")
        os.fsync(fd)
    finally:
        os.close(fd)
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _checksum(number: bytes) -> bytes:
    return b"%08x" % zlib.crc32(number)
