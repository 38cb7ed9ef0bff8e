"""The time zone of the device: $TZ, else /etc/localtime, else UTC. Not here: conversions (weekly.py)."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Mapping
from datetime import timezone, tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from edge_app.options.files import read_regular

_LOCALTIME = Path("/etc/localtime")
_MAX_BYTES = 1 << 20
_CHECK_EVERY_S = 60.0


def system_zone(environ: Mapping[str, str] = os.environ, localtime: Path = _LOCALTIME) -> tzinfo:
    """The zone that the system is set to. UTC if none is set, or its data are missing or damaged."""
    name = environ.get("TZ", "").removeprefix(":")
    if name:
        return _named(name) or timezone.utc
    try:
        data = read_regular(localtime, _MAX_BYTES)
        return ZoneInfo.from_file(io.BytesIO(data), _name_of(localtime))
    except (OSError, ValueError, struct.error):
        return timezone.utc


class LocalZone:
    """The system's zone; follows a change of /etc/localtime within a minute."""

    def __init__(self, environ: Mapping[str, str] = os.environ, localtime: Path = _LOCALTIME) -> None:
        self._environ, self._localtime = environ, localtime
        self._checked_s = float("-inf")
        self._zone: tzinfo = timezone.utc

    def get(self) -> tzinfo:
        now_s = time.monotonic()
        if now_s - self._checked_s >= _CHECK_EVERY_S:
            self._checked_s = now_s
            self._zone = system_zone(self._environ, self._localtime)
        return self._zone


def _named(text: str) -> tzinfo | None:
    """A zone by its name, its file, or a rule such as `CET-1CEST,M3.5.0,M10.5.0/3`."""
    try:
        if text.startswith("/"):
            return ZoneInfo.from_file(io.BytesIO(read_regular(Path(text), _MAX_BYTES)), text)
        return ZoneInfo(text)
    except (OSError, ValueError, struct.error, LookupError):  # no such name, or no data on this device
        pass
    try:
        return ZoneInfo.from_file(io.BytesIO(_rule_file(text)), text)
    except (ValueError, struct.error):
        return None


def _rule_file(rule: str) -> bytes:
    """A file in the TZif format (RFC 8536) that has only a rule."""
    header = b"TZif2" + bytes(15) + struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    block = header + struct.pack(">lbb", 0, 0, 0) + b"UTC\0"
    return block + block + b"\n" + rule.encode("ascii", "replace") + b"\n"


def _name_of(localtime: Path) -> str:
    """The zone's name, as in `Europe/Berlin`, from where the link leads; else `local`."""
    _, found, name = os.path.realpath(localtime).partition("/zoneinfo/")
    return name if found else "local"
