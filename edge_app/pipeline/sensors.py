"""Read the board's temperature, the available memory and the memory of this process. Unreadable values are None.

Not here: degradation (degradation.py), the restart because of memory (daemon/loop.py).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Reading:
    """temperature_c: of the hottest zone. available_mb: memory that can still be allocated.

    resident_mb: memory of this process. allowed_mb: its memory limit.
    """

    temperature_c: float | None = None
    available_mb: float | None = None
    resident_mb: float | None = None
    allowed_mb: float | None = None


class Sensors(Protocol):
    """A source of readings."""

    def read(self) -> Reading: ...


class BoardSensors:
    """Linux: thermal zones, meminfo, and the control group of this process."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._thermal = sorted((root / "sys/class/thermal").glob("thermal_zone*/temp"))
        self._meminfo = root / "proc/meminfo"
        self._statm = root / "proc/self/statm"
        self._cgroup = _own_cgroup(root)

    def read(self) -> Reading:
        meminfo = _text(self._meminfo)
        total, available = (_kilobytes(meminfo, name) for name in ("MemTotal", "MemAvailable"))
        limit = _number(_text(self._cgroup / "memory.max")) if self._cgroup else None
        if limit is not None and self._cgroup:
            left = limit - (_number(_text(self._cgroup / "memory.current")) or 0)
            reclaimable = re.search(r"^inactive_file (\d+)", _text(self._cgroup / "memory.stat"), re.MULTILINE)
            left += int(reclaimable[1]) if reclaimable else 0
            available, total = _min(available, left), _min(total, limit)
        pages = _text(self._statm).split()
        resident = int(pages[1]) * os.sysconf("SC_PAGE_SIZE") if len(pages) > 1 else None
        return Reading(self._hottest_c(), _mb(available), _mb(resident), _mb(total))

    def _hottest_c(self) -> float | None:
        values = [value / 1000 for zone in self._thermal if (value := _number(_text(zone))) is not None]
        return max((value for value in values if -40 < value < 200), default=None)  # some zones report nonsense


def _own_cgroup(root: Path) -> Path | None:
    """The folder of this process's control group (version 2), or None if it has no memory controller."""
    match = re.search(r"^0::(/.*)$", _text(root / "proc/self/cgroup"), re.MULTILINE)
    folder = root / "sys/fs/cgroup" / match[1].lstrip("/") if match else None
    return folder if folder is not None and (folder / "memory.max").exists() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # such as a thermal zone whose sensor is suspended
        return ""


def _number(text: str) -> float | None:
    """The number, or None for `max` and for an empty text."""
    try:
        return float(text)
    except ValueError:
        return None


def _kilobytes(meminfo: str, name: str) -> float | None:
    match = re.search(rf"^{name}:\s+(\d+) kB", meminfo, re.MULTILINE)
    return int(match[1]) * 1024 if match else None


def _min(a: float | None, b: float) -> float:
    return b if a is None else min(a, b)


def _mb(size: float | None) -> float | None:
    return None if size is None else size / 1e6
