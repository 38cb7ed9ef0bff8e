"""JSON lines, to a file with rotation by size or to standard output. The file never has an incomplete line.

An incomplete line after a power cut is removed on opening; one caused by a full disk is removed at once.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import select
import stat
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Literal

from edge_app.errors import SinkError
from edge_app.messages import Message
from edge_app.options import Range
from edge_app.options.files import check_regular
from edge_app.sinks import SinkContext

_STDOUT = 1
_NULL = Path(os.devnull)
_BLOCK = 64 * 1024


class Sink:
    """path: a regular file, /dev/null, or `-` for standard output.

    max_mb: a larger file is renamed to `path.1` and so on; null: never. keep: number of renamed files. append: append
    to an existing file, or truncate it. fsync: a message counts as delivered once it is on disk (one sync per batch),
    not once the operating system has it.
    """

    batch_limit = 500
    opens_file = True

    def __init__(
        self,
        context: SinkContext,  # noqa: ARG002  messages name the device
        *,
        path: Literal["-"] | Path = "-",
        max_mb: Annotated[float, Range(0.001)] | None = 64.0,
        keep: Annotated[int, Range(1, 1000)] = 3,
        append: bool = True,
        fsync: bool = False,
    ) -> None:
        self._path = Path(path)
        self._max_bytes = None if max_mb is None else round(max_mb * 1e6)
        self._keep = keep
        self._fsync = fsync
        self._fd = _STDOUT if path == "-" else self._open(append)
        self._regular = self._fd != _STDOUT and stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._size = _remove_incomplete_line(self._fd) if self._regular else 0

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError (retry) if writing fails, BrokenPipeError if the reader closed the pipe."""
        if self._fd < 0:
            self._fd = self._open(append=True)
        data = b"".join([message.payload + b"\n" for message in batch])
        if self._regular and self._max_bytes and self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        if self._regular:
            self._write_file(data)
        else:
            self._write_stream(data)
        return [message.id for message in batch]

    def idle(self) -> None:
        """Nothing to keep alive."""

    def close(self) -> None:
        if self._fd > _STDOUT:
            os.close(self._fd)
        self._fd = -1

    def _open(self, append: bool) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
        try:
            if self._path != _NULL:
                check_regular(self._path)
            return os.open(self._path, flags if append else flags | os.O_TRUNC, 0o644)
        except OSError as exc:
            raise SinkError(f"{self._path}: cannot be written: {exc.strerror}", retry=True) from exc

    def _write_file(self, data: bytes) -> None:
        """Write everything, or truncate the file to its old size."""
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])  # raises the reason of a short write
            if self._fsync:
                os.fsync(self._fd)
        except OSError as exc:
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._size)
            raise SinkError(f"{self._path}: cannot be written: {exc.strerror}", retry=True) from exc
        self._size += len(data)

    def _write_stream(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                select.select([], [self._fd], [])
            except BrokenPipeError:
                raise
            except OSError as exc:
                raise SinkError(f"{self._path}: cannot be written: {exc.strerror}", retry=True) from exc

    def _rotate(self) -> None:
        numbered = [self._path, *(self._path.with_name(f"{self._path.name}.{n}") for n in range(1, self._keep + 1))]
        try:
            for newer, older in reversed(list(itertools.pairwise(numbered))):
                if newer.exists():
                    newer.replace(older)
        except OSError as exc:
            raise SinkError(f"{self._path}: cannot be rotated: {exc.strerror}", retry=True) from exc
        os.close(self._fd)
        self._fd = -1  # if opening fails, the next `send` tries again
        self._fd = self._open(append=False)
        self._size = 0


def _remove_incomplete_line(fd: int) -> int:
    """Truncate a file after its last newline. Returns the new size."""
    size = end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _BLOCK)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end < size:
        os.ftruncate(fd, end)
    return end
