"""The latest snapshot of an event, for the image that a dashboard shows. Not here: writing snapshots (daemon/)."""

from __future__ import annotations

import os
from pathlib import Path

from edge_app.options.files import MIB, read_regular

_CHECK_EVERY_S = 2.0
_EVERY_S = 5.0


class EventImage:
    """Reads the newest JPEG of a folder, at most one in five seconds."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._changed_ns = -1
        self._sent = ""
        self._next_s = 0.0

    def restart(self) -> None:
        """The latest image is due again."""
        self._changed_ns, self._sent = -1, ""

    def next(self, now_s: float) -> bytes | None:
        """The newest image, if there is one that was not returned yet."""
        if now_s < self._next_s:
            return None
        self._next_s = now_s + _CHECK_EVERY_S
        try:
            changed_ns = os.stat(self._folder).st_mtime_ns
            if changed_ns == self._changed_ns:
                return None
            self._changed_ns = changed_ns
            with os.scandir(self._folder) as entries:
                found = [(each.stat(follow_symlinks=False).st_mtime_ns, each.name) for each in entries]
            newest = max((each for each in found if each[1].endswith(".jpg")), default=(0, ""))[1]
            if not newest or newest == self._sent:
                return None
            jpeg = read_regular(self._folder / newest, MIB, inside=self._folder)
        except (OSError, ValueError):  # the ring has just deleted it, or it is too large
            return None
        self._sent, self._next_s = newest, now_s + _EVERY_S
        return jpeg
