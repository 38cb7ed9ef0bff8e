"""The report of a rollout to a fleet: the outcome of every camera, on the disk after each change, so that it resumes.

Not here: the rollout (fleet.py).
"""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal, get_args

sys.path.insert(0, str(Path(__file__).resolve().parent / "updater"))

import durable

Outcome = Literal["waiting", "running", "kept", "rolled_back", "rejected", "lost", "unreachable"]
FAILURES: tuple[Outcome, ...] = ("rolled_back", "rejected", "lost")
FORMAT = 1
_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Entry:
    """One camera. release, config_sha256: what was deployed. reason: the last line of a failure.

    kept: it runs the release. rolled_back: it runs the previous one. rejected: nothing was changed. lost: the
    connection or the verdict. unreachable: it was not tried. running: a rollout was interrupted.
    """

    outcome: Outcome = "waiting"
    release: str = ""
    config_sha256: str = ""
    reason: str = ""
    seconds: float = 0.0
    at: str = ""

    def settles(self, release: str, config_sha256: str) -> bool:
        """Whether the outcome is that of this release and configuration."""
        return (self.release, self.config_sha256) == (release, config_sha256)


class Report:
    """The file. Thread-safe. Raises ValueError if it exists and is not a report."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self.cameras: dict[str, Entry] = {}
        self.result = "running"
        if path.exists():
            self.cameras = _read(path)

    def keep(self, names: list[str]) -> None:
        """Forget cameras that are no longer in the inventory."""
        self.cameras = {name: self.cameras.get(name, Entry()) for name in names}

    def set(self, name: str, entry: Entry) -> None:
        """Record the outcome of a camera, durably."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        with self._lock:
            self.cameras[name] = Entry(**{**asdict(entry), "at": now})
            self._write()

    def close(self, result: str) -> None:
        with self._lock:
            self.result = result
            self._write()

    def failures(self) -> list[str]:
        """The cameras that the release failed on."""
        with self._lock:
            return [name for name, entry in self.cameras.items() if entry.outcome in FAILURES]

    def summary(self) -> str:
        """`98 of 100 kept, 1 rolled back, 1 waiting`."""
        counts = Counter(entry.outcome for entry in self.cameras.values())
        others = [f"{counts[name]} {name.replace('_', ' ')}" for name in get_args(Outcome) if counts[name]]
        rest = [text for text in others if not text.endswith(" kept")]
        return ", ".join([f"{counts['kept']} of {len(self.cameras)} kept", *rest])

    def _write(self) -> None:
        cameras = {name: asdict(entry) for name, entry in self.cameras.items()}
        fields = {"format": FORMAT, "result": self.result, "summary": self.summary(), "cameras": cameras}
        durable.replace(self.path, (json.dumps(fields, indent=1) + "\n").encode())


def _read(path: Path) -> dict[str, Entry]:
    try:
        fields: Any = json.loads(durable.read_file(path, _MAX_BYTES))
        if fields["format"] != FORMAT:
            raise ValueError(f"found format {fields['format']!r:.40}; expected {FORMAT}")
        found = {name: Entry(**entry) for name, entry in fields["cameras"].items()}
        wrong = {entry.outcome for entry in found.values()} - {*get_args(Outcome)}
        if wrong:
            raise ValueError(f"found the outcome {min(wrong)!r:.40}")
        return found
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ValueError(f"{path}: not a report of a rollout: {exc}; expected one, or another --report FILE") from None
