"""A log of the events that are open: what survives a process that dies, so that every event ends exactly once.

A `new` or `end` message is written here before the outbox accepts it, and forgotten when the event has ended and the
outbox has settled both of its messages: stored them, or delivered them to every sink. Lines are appended without
waiting for the flash memory, which a killed process does not need; an event that lasts is synced once, for a power cut.
The file is emptied when nothing is open. Not here: what a restart publishes (publish/open_events.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event as Flag
from threading import Thread

from edge_app.messages import Message, decode, utc_of
from edge_app.options.files import read_regular

_LOG = logging.getLogger(__name__)

FILE = "open-events.log"
_WAIT_S = 0.05  # for the page cache; a disk that hangs must not stop the pipeline
_SYNC_S = 1.0
_COMPACT_BYTES = 1 << 16
_MAX_BYTES = 1 << 24
_MAX_EVENTS = 1000
_CLOSING_S = 2.0


@dataclass(slots=True)
class OpenEvent:
    """The messages of an event, as published, and whether the outbox has settled them. b"": there is none."""

    new: bytes = b""
    end: bytes = b""
    new_settled: bool = False
    end_settled: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing of it has to be done any more."""
        return bool(self.end) and self.end_settled and (self.new_settled or not self.new)


class EventLog:
    """The file, written by a separate thread. found: the events that an earlier process left, by event id.

    unsettled: the messages of these events that the outbox may not have accepted, in the order in which they were made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._events, self._by_message = _read(path)
        self.found = {event_id: event for event_id, event in self._events.items() if not event.finished}
        self.unsettled = [message for message, settled in self._messages() if not settled]
        self._fd: int | None = None
        self._size = 0
        self._rewrite = True  # whether the file lacks something, or holds what an earlier process left
        self._sync_at_s: float | None = None
        self._failed = False
        self._jobs: SimpleQueue[tuple[str, bytes | str, Flag | None] | None] = SimpleQueue()
        self._last: Flag | None = None  # of the last message that `record` waited for
        self._thread = Thread(target=self._run, name="event-log", daemon=True)
        self._thread.start()

    def record(self, message: Message) -> Message:
        """Write a `new` or `end` message, before it is accepted. Returns it. Waits for the disk for 50 ms at most."""
        behind = self._last is not None and not self._last.is_set()
        self._last = written = Flag()
        self._jobs.put(("M", message.payload, written))
        if not behind:
            written.wait(_WAIT_S)
        return message

    def settle(self, message: Message) -> None:
        """Note that the outbox has stored a message, delivered it, or reported it as lost. Never waits."""
        self._jobs.put(("S", message.id, None))

    def move(self, path: Path) -> None:
        """Continue in another file."""
        self._jobs.put(("P", str(path), None))

    def close(self) -> None:
        """Write what is left, and end. Safe to call twice."""
        self._jobs.put(None)
        self._thread.join(_CLOSING_S)

    def _run(self) -> None:
        while True:
            timeout_s = None if self._sync_at_s is None else max(0.0, self._sync_at_s - time.monotonic())
            try:
                job = self._jobs.get(timeout=timeout_s)
            except Empty:
                self._try(self._sync)
                continue
            if job is None:
                break
            kind, body, written = job
            self._try(self._apply, kind, body)
            if written is not None:
                written.set()
        self._try(self._finish)

    def _try(self, work: object, *arguments: object) -> None:
        """Do something with the file. After an error, the next message writes all of it again."""
        try:
            work(*arguments)  # type: ignore[operator]
        except OSError as exc:
            self._rewrite, self._sync_at_s = True, None
            if not self._failed:
                _LOG.warning("%s: %s; open events would not end if the process died", self._path, exc.strerror)
            self._failed = True

    def _apply(self, kind: str, body: bytes | str) -> None:
        if kind == "P":
            old, self._path = self._path, Path(str(body))
            if old != self._path:
                self._write_all()
                old.unlink(missing_ok=True)
            return
        _apply(self._events, self._by_message, kind, body if isinstance(body, bytes) else body.encode())
        while len(self._events) > _MAX_EVENTS:
            self._forget(next(iter(self._events)))
        if kind == "S":
            for event_id in [k for k, event in self._events.items() if event.finished]:
                self._forget(event_id)
        if not self._events:
            self._empty()
        elif self._rewrite or self._size > _COMPACT_BYTES:
            self._write_all()
        else:
            self._append(_line(kind, body if isinstance(body, bytes) else body.encode()))
        if kind == "M" and self._sync_at_s is None:
            self._sync_at_s = time.monotonic() + _SYNC_S

    def _forget(self, event_id: str) -> None:
        event = self._events.pop(event_id)
        for message in (event.new, event.end):
            self._by_message.pop(_field(message, "id"), None)

    def _messages(self) -> Iterator[tuple[bytes, bool]]:
        """All messages in the order in which they were recorded, and whether each is settled."""
        for message_id, event_id in self._by_message.items():
            event = self._events.get(event_id, OpenEvent())
            for message, settled in ((event.new, event.new_settled), (event.end, event.end_settled)):
                if message and _field(message, "id") == message_id:
                    yield message, settled

    def _append(self, data: bytes) -> None:
        assert self._fd is not None
        if os.write(self._fd, data) != len(data):
            raise OSError(28, "No space left on device")
        self._size += len(data)

    def _write_all(self) -> None:
        """Replace the file by one with the open events only, atomically."""
        fresh = self._path.with_name(self._path.name + ".new")
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._close_file()
        self._fd, self._size = fd, 0
        for message, settled in self._messages():
            self._append(_line("M", message))
            if settled:
                self._append(_line("S", _field(message, "id").encode()))
        os.replace(fresh, self._path)
        self._rewrite = self._failed = False

    def _sync(self) -> None:
        self._sync_at_s = None
        if self._fd is not None and self._size:
            os.fdatasync(self._fd)

    def _empty(self) -> None:
        if self._rewrite:
            self._write_all()
        elif self._fd is not None:
            os.ftruncate(self._fd, 0)
            self._size, self._sync_at_s = 0, None

    def _finish(self) -> None:
        self._sync()
        if not self._events:
            self._remove()
        self._close_file()

    def _remove(self) -> None:
        self._close_file()
        self._path.unlink(missing_ok=True)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            with contextlib.suppress(OSError):
                os.close(fd)


def _line(kind: str, body: bytes) -> bytes:
    content = kind.encode() + b" " + body
    return b"%08x %s\n" % (zlib.crc32(content), content)


def _read(path: Path) -> tuple[dict[str, OpenEvent], dict[str, str]]:
    """The events in a file, and the event of each message id. A line that a power cut has damaged is left out."""
    try:
        lines = read_regular(path, _MAX_BYTES).split(b"\n")
    except FileNotFoundError:
        return {}, {}
    except OSError as exc:
        _LOG.warning("%s: cannot be read: %s", path, exc.strerror)
        return {}, {}
    events: dict[str, OpenEvent] = {}
    by_message: dict[str, str] = {}
    damaged = 0
    for line in filter(None, lines):
        checksum, _, content = line.partition(b" ")
        kind, _, body = content.partition(b" ")
        try:
            if checksum != b"%08x" % zlib.crc32(content) or kind not in (b"M", b"S"):
                raise ValueError("damaged")
            if kind == b"M":
                _check(body)
            _apply(events, by_message, kind.decode(), body)
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged += 1
    if damaged:
        _LOG.warning("%s: %d lines are damaged and left out", path, damaged)
    return events, by_message


def _check(body: bytes) -> None:
    """Raises ValueError, KeyError or TypeError if this is not a `new` or `end` message that can be completed."""
    if decode(body).kind != "event":
        raise ValueError("not an event")
    event = json.loads(body)
    texts = (event["event_id"], event["device"], event["boot_id"])
    if event["type"] not in ("new", "end") or not isinstance(event["value"], dict):
        raise ValueError("not a message that begins or ends an event")
    if not all(isinstance(text, str) for text in texts):
        raise ValueError("a field has another type")
    utc_of(event["start"])


def _apply(events: dict[str, OpenEvent], by_message: dict[str, str], kind: str, body: bytes) -> None:
    """Apply one line. Raises ValueError, KeyError or TypeError if it is not one of these."""
    if kind == "S":
        event = events.get(by_message.get(body.decode(), ""))
        if event is not None and event.new and _field(event.new, "id") == body.decode():
            event.new_settled = True
        elif event is not None:
            event.end_settled = True
        return
    message = json.loads(body)
    event = events.setdefault(str(message["event_id"]), OpenEvent())
    if message["type"] == "new":
        event.new = body
    else:
        event.end = body
    by_message[str(message["id"])] = str(message["event_id"])


def _field(payload: bytes, name: str) -> str:
    return str(json.loads(payload)[name]) if payload else ""
