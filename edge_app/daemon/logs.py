"""Log output: journald's native protocol, JSON lines or plain text, with a rate limit.

A line of code may log 5 times a minute; further messages are counted and dropped. In all messages, secrets in URLs are
masked and control characters replaced.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal, TextIO

from edge_app.errors import mask_urls

LogFormat = Literal["auto", "journal", "json", "text"]

_JOURNAL = Path("/run/systemd/journal/socket")
_BURST = 5
_WINDOW_S = 60.0
_MAX_SITES = 512  # lines of code that the rate limit tracks
_MAX_BYTES = 48 * 1024  # of one entry: a datagram must fit into the socket's buffer
_PRIORITY = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def configure(form: LogFormat, stream: TextIO, environ: Mapping[str, str], journal: Path = _JOURNAL) -> None:
    """Send all messages of level INFO and above to one handler. `auto`: journald if `stream` leads to it, else text."""
    if form == "auto":
        form = "journal" if _leads_to_journal(stream, environ) and journal.exists() else "text"
    handler: logging.Handler = JournalHandler(journal) if form == "journal" else logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    handler.addFilter(RateLimit())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)


class RateLimit(logging.Filter):
    """Lets a line of code log 5 times a minute. Its next message after that minute says how many were dropped."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now_s = now_s
        self._sites: dict[tuple[str, int], tuple[float, int]] = {}  # start of the window, messages in it

    def filter(self, record: logging.LogRecord) -> bool:
        site, now_s = (record.pathname, record.lineno), self._now_s()
        since_s, count = self._sites.get(site, (now_s, 0))
        if now_s - since_s >= _WINDOW_S:
            if count > _BURST:
                record.msg, record.args = f"{record.getMessage()} ({count - _BURST} similar messages dropped)", ()
            since_s, count = now_s, 0
        if site not in self._sites and len(self._sites) >= _MAX_SITES:
            self._sites.clear()
        self._sites[site] = since_s, count + 1
        return count < _BURST


class TextFormatter(logging.Formatter):
    """`WARNING edge_app.capture: camera: no frame for 10.0 s; trying again`, followed by the traceback, if any.

    Further lines of a message are indented, so that no text in it can pass for another message.
    """

    def __init__(self) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        return _safe(super().format(record)).replace("\n", "\n  ")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: utc, level, logger, message, and the traceback, if any."""

    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "utc": datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _safe(record.getMessage()),
        }
        if record.exc_info:
            entry["traceback"] = _safe(self.formatException(record.exc_info))
        return json.dumps(entry, ensure_ascii=False)


class JournalHandler(logging.Handler):
    """Sends native entries to journald: the level as PRIORITY; logger, file and line as separate fields."""

    def __init__(self, address: Path) -> None:
        super().__init__()
        self._address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        fields = {
            "MESSAGE": _safe(message),
            "PRIORITY": str(_PRIORITY.get(record.levelno, 6)),
            "SYSLOG_IDENTIFIER": "edge-app",
            "LOGGER": record.name,
            "CODE_FILE": record.pathname,
            "CODE_LINE": str(record.lineno),
        }
        try:
            self._socket.sendto(b"".join(_field(name, text) for name, text in fields.items()), self._address)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        self._socket.close()
        super().close()


def _safe(text: str) -> str:
    """Text without secrets in URLs, surrogates and control characters other than line ends."""
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in mask_urls(text[:_MAX_BYTES]))


def _field(name: str, text: str) -> bytes:
    """Encode one field of journald's native protocol. A value with newlines is preceded by its length."""
    value = text.encode("utf-8", "replace")[:_MAX_BYTES]
    if b"\n" not in value:
        return name.encode() + b"=" + value + b"\n"
    return name.encode() + b"\n" + struct.pack("<Q", len(value)) + value + b"\n"


def _leads_to_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether systemd connected this stream to the journal: $JOURNAL_STREAM is its device and inode."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"
