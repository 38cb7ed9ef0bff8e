"""The last saved changes, so that they can be undone: in state_dir/undo.json, also over a restart of the daemon.

What is read there is checked like every other configuration before it is used. Not here: undoing (store.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edge_app.commands import atomic_file
from edge_app.errors import foreign_exception
from edge_app.options.document import MAX_BYTES
from edge_app.options.files import read_regular

_LOG = logging.getLogger(__name__)
FILE = "undo.json"
_MAX_CHANGES = 5
_MAX_FILE_BYTES = _MAX_CHANGES * 2 * 2 * MAX_BYTES  # two files per change; JSON escapes


@dataclass(frozen=True, slots=True)
class Files:
    """The content of config.yaml and overrides.yaml. overrides: b"" if there is none."""

    config: bytes
    overrides: bytes

    @property
    def version(self) -> str:
        return hashlib.sha256(b"%d %b%b" % (len(self.config), self.config, self.overrides)).hexdigest()[:16]


Change = tuple[Files, str]  # the files before it, their version after it


class History:
    """The changes that can be undone, oldest first. While the disk is full, they are in memory only."""

    def __init__(self) -> None:
        self._changes: list[Change] | None = None

    def read(self, folder: Path) -> list[Change]:
        """folder: state_dir. A damaged file is an empty history."""
        if self._changes is None:
            self._changes = _read(folder / FILE)
        return list(self._changes)

    def write(self, folder: Path, changes: Sequence[Change]) -> None:
        """Keep the last five changes."""
        self._changes = list(changes[-_MAX_CHANGES:])
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_file.replace(folder / FILE, _encoded(self._changes))
        except OSError as exc:
            _LOG.warning("the last changes can be undone only until a restart: %s", foreign_exception(exc))


def _encoded(changes: Sequence[Change]) -> bytes:
    listed = [
        {"config": _text(before.config), "overrides": _text(before.overrides), "after": after}
        for before, after in changes
    ]
    return json.dumps({"format": 1, "changes": listed}).encode("ascii")


def _read(path: Path) -> list[Change]:
    if not path.exists():
        return []
    try:
        stored = json.loads(read_regular(path, _MAX_FILE_BYTES, inside=path.parent))
        if stored["format"] != 1:
            return []
        return [
            (Files(_bytes(each["config"]), _bytes(each["overrides"])), str(each["after"]))
            for each in stored["changes"][-_MAX_CHANGES:]
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as exc:
        _LOG.warning("%s: found no list of changes (%s); nothing can be undone", path, foreign_exception(exc))
        return []


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
