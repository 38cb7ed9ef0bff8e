"""A small file with what a sink has announced to its broker, so that a later start can remove what no longer exists.

`state_dir/announced/<sink>.json`; it is rewritten only if the set of entities or topics changes. A missing or damaged
file means that nothing was announced.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edge_app.errors import foreign_text
from edge_app.options.files import read_regular

_LOG = logging.getLogger(__name__)
_MAX_BYTES = 1 << 20
FOLDER = "announced"


@dataclass(slots=True)
class Announcement:
    """broker: host and port. discovery: the topic, "" without. components: of the discovery, by key. removed: those
    that Home Assistant may still have. topics: of the state.
    """

    broker: str = ""
    discovery: str = ""
    components: dict[str, dict[str, Any]] = field(default_factory=dict)
    removed: dict[str, dict[str, Any]] = field(default_factory=dict)
    topics: list[str] = field(default_factory=list)


class AnnouncedFile:
    """folder: None: nothing is kept. name: of the file, safe for a file name. broker: host and port."""

    def __init__(self, folder: Path | None, name: str, broker: str) -> None:
        self._path = None if folder is None else folder / FOLDER / f"{name}.json"
        found = self._load()
        self.announcement = found if found.broker == broker else Announcement(broker)
        self._saved = asdict(self.announcement)

    def save(self) -> None:
        """Write the file if the announcement has changed. An error is logged: the sink must go on."""
        now = asdict(self.announcement)
        if self._path is None or now == self._saved:
            return
        temporary = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(now, file, ensure_ascii=True)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self._path)
            self._saved = now
        except OSError as exc:
            _LOG.warning("%s: cannot be written: %s", self._path, exc.strerror)

    def _load(self) -> Announcement:
        if self._path is None:
            return Announcement()
        try:
            return _parsed(json.loads(read_regular(self._path, _MAX_BYTES)))
        except FileNotFoundError:
            return Announcement()
        except (OSError, ValueError, RecursionError) as exc:
            _LOG.warning("%s: not readable, so nothing is removed: %s", self._path, foreign_text(exc))
            return Announcement()


def _parsed(body: Any) -> Announcement:
    """Raises ValueError if the file has another form."""
    if not isinstance(body, Mapping):
        raise ValueError("found no object")
    texts = {name: body.get(name) for name in ("broker", "discovery")}
    blocks = {name: body.get(name) for name in ("components", "removed")}
    topics = body.get("topics")
    if not (
        all(isinstance(text, str) for text in texts.values())
        and isinstance(topics, list)
        and all(isinstance(topic, str) for topic in topics)
        and all(isinstance(block, dict) and all(map(_is_component, block.values())) for block in blocks.values())
    ):
        raise ValueError("found another form than the one that is written")
    return Announcement(
        str(texts["broker"]),
        str(texts["discovery"]),
        dict(blocks["components"] or {}),
        dict(blocks["removed"] or {}),
        topics,
    )


def _is_component(value: object) -> bool:
    return isinstance(value, dict) and isinstance(value.get("platform"), str)
