"""JSON lines, to a file with rotation by size or to standard output: whole lines only, whatever happens.

A half line that a power cut left behind is cut back on opening; one that a full disk would leave is taken back at once.
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
from edge_app.options import Positive, Range
from edge_app.sinks import SinkContext

_STDOUT = 1
_BLOCK = 64 * 1024


class Sink:
    """path: a file, or `-`. max_mb: a file beyond it becomes `path.1` and so on, `keep` of them (null: never).

    append: go on behind what the file holds, or begin anew. fsync: a line counts as delivered only once it is on the
    disk (one sync a batch), not once the system has it.
    """

    batch_limit = 500
    opens_file = True

    def __init__(
        self,
        context: SinkContext,  # noqa: ARG002  lines carry the device already
        *,
        path: Literal["-"] | Path = "-",
        max_mb: Annotated[float, Range(0.001)] | None = 64.0,
        keep: Positive = 3,
        append: bool = True,
        fsync: bool = False,
    ) -> None:
        self._path = Path(path)
        self._max_bytes = None if max_mb is None else round(max_mb * 1e6)
        self._keep = keep
        self._fsync = fsync
        self._fd = _STDOUT if path == "-" else self._open(append)
        self._regular = self._fd != _STDOUT and stat.S_ISREG(os.fstat(self._fd).st_mode)
        self._size = _whole_lines(self._fd) if self._regular else 0

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError (retry) where the disk refuses, BrokenPipeError where the reader of a pipe has gone."""
        if self._fd < 0:
            self._fd = self._open(append=True)
        data = b"".join([message.payload + b"\n" for message in batch])
        if self._regular and self._max_bytes and self._size and self._size + len(data) > self._max_bytes:
            self._rotate()
        if self._regular:
            self._write_whole(data)
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
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | (0 if append else os.O_TRUNC)
        try:
            if self._path.exists() and not self._path.is_file():
                flags = os.O_WRONLY | os.O_CLOEXEC  # a pipe or a device
            return os.open(self._path, flags, 0o644)
        except OSError as exc:
            raise SinkError(f"{self._path}: cannot be written: {exc.strerror}", retry=True) from exc

    def _write_whole(self, data: bytes) -> None:
        """Write all of it or, seen from outside, nothing."""
        try:
            written = os.write(self._fd, data)
            while written < len(data):
                written += os.write(self._fd, data[written:])  # tells why the first one fell short
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
        self._fd = -1  # stays so where opening fails; the next send tries again
        self._fd = self._open(append=False)
        self._size = 0


def _whole_lines(fd: int) -> int:
    """Cut a half line off the end of a file. Returns the size that is left."""
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
