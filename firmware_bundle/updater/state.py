"""state.json: the state of a device's releases.

Not here: the changes of state (releases.py).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import durable

TRIES = 3
_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Trial:
    """A release on trial. boot_id: the boot of its first start; None before that."""

    release: str
    tries_left: int = TRIES
    boot_id: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a release was rolled back."""

    release: str
    reason: str


@dataclass(frozen=True)
class State:
    """good: the release that runs unless one is on trial. previous: the target of `rollback`."""

    good: str | None = None
    previous: str | None = None
    trial: Trial | None = None
    failed: Failure | None = None

    @property
    def chosen(self) -> str | None:
        """The release that the next start runs."""
        return self.trial.release if self.trial else self.good


def read(path: Path) -> State:
    """Read a state file. Raises FileNotFoundError, or ValueError if the content is wrong."""
    try:
        with path.open("rb") as file:
            fields = json.loads(file.read(_MAX_BYTES))
        trial, failed = fields["trial"], fields["failed"]
        return State(
            _name(fields["good"]),
            _name(fields["previous"]),
            Trial(**trial) if trial else None,
            Failure(**failed) if failed else None,
        )
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as exc:
        raise ValueError(f"{path}: cannot be read: {exc}") from exc


def write(path: Path, state: State) -> None:
    """Replace the state file atomically and durably."""
    durable.replace(path, (json.dumps({"format": 1, **asdict(state)}, indent=1) + "\n").encode())


def _name(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise ValueError(f"found {value!r:.40}; expected the name of a release")
    return value
