"""state.json: the state of a device's releases.

Not here: the changes of state (releases.py).
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import durable
from bundle import RELEASE
from text import one_line

TRIES = 3
_MAX_BYTES = 1 << 16
_ANY = re.compile(r".*", re.DOTALL)


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
        fields = json.loads(durable.read_file(path, _MAX_BYTES))
        return State(
            _release(fields["good"]), _release(fields["previous"]), _trial(fields["trial"]), _failure(fields["failed"])
        )
    except FileNotFoundError:
        raise
    except RecursionError:
        raise ValueError(f"{path}: cannot be read: nested too deeply") from None
    except OSError as exc:
        raise ValueError(f"{path}: cannot be read: {exc.strerror}") from exc
    except (ValueError, TypeError, KeyError) as exc:
        raise ValueError(f"{path}: cannot be read: {exc}") from exc


def write(path: Path, state: State) -> None:
    """Replace the state file atomically and durably."""
    durable.replace(path, (json.dumps({"format": 1, **asdict(state)}, indent=1) + "\n").encode())


def _release(value: object) -> str | None:
    return None if value is None else _text(value, RELEASE)


def _trial(fields: Any) -> Trial | None:
    if fields is None:
        return None
    tries_left, boot_id = fields["tries_left"], fields["boot_id"]
    if type(tries_left) is not int or not 0 <= tries_left <= TRIES:
        raise ValueError(f"tries_left: found {tries_left!r:.40}; expected 0 to {TRIES}")
    return Trial(_text(fields["release"], RELEASE), tries_left, None if boot_id is None else _text(boot_id))


def _failure(fields: Any) -> Failure | None:
    return None if fields is None else Failure(_text(fields["release"]), _text(fields["reason"]))


def _text(value: object, pattern: re.Pattern[str] = _ANY) -> str:
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise ValueError(f"found {value!r:.40}; expected {'text' if pattern is _ANY else 'the name of a release'}")
    return one_line(value, _MAX_BYTES)
