"""Pictures of the moments at which events began: JPEG files in a bounded ring under state_dir, named by event id.

A thread of its own encodes and writes; where it cannot keep up, or the disk refuses, pictures are left out and counted.
The source has painted privacy masks over before anything gets here. Not here: which events there are (analytics/).
"""

from __future__ import annotations

import contextlib
import logging
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from queue import Full, Queue
from threading import Thread

import cv2

from edge_app.config.services import SnapshotsConfig as Settings
from edge_app.frame import Event, Frame, UInt8

_LOG = logging.getLogger(__name__)
_WAITING = 4  # frames that may wait to be encoded
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_CLOSE_S = 1.0


class Snapshots:
    """The ring. left_out: pictures that were not taken."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self.left_out = 0
        self._kept: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        self._queue: Queue[tuple[Frame, list[Event]] | None] = Queue(_WAITING)
        self._thread = Thread(target=self._run, name="snapshots", daemon=True)
        self._thread.start()

    def take(self, frame: Frame, events: Sequence[Event]) -> None:
        """Take a picture for each of the frame's events that began; never waits."""
        began = [event for event in events if event.type == "new" and _ID.fullmatch(event.event_id)]
        if not began:
            return
        try:
            self._queue.put_nowait((frame, began))
        except Full:
            self.left_out += len(began)

    def read(self, event_id: str) -> bytes | None:
        """The JPEG of an event, None where there is none (any more)."""
        if not _ID.fullmatch(event_id) or event_id.startswith("."):
            return None
        with contextlib.suppress(OSError):
            return (self._folder / f"{event_id}.jpg").read_bytes()
        return None

    def taken(self) -> set[str]:
        """The ids of the events that have a picture."""
        return {path.stem for path, _ in list(self._kept)}

    def close(self) -> None:
        """Write what waits. Safe to call twice."""
        if self._thread.is_alive():
            with contextlib.suppress(Full):
                self._queue.put(None, timeout=_CLOSE_S)
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._adopt()
        while (item := self._queue.get()) is not None:
            frame, events = item
            for event in events:
                try:
                    self._write(f"{event.event_id}.jpg", self._picture(frame, event))
                except OSError as exc:
                    self.left_out += 1
                    _LOG.warning("%s: no picture kept: %s", self._folder, exc.strerror)

    def _adopt(self) -> None:
        """Go on with what an earlier run has left, oldest first."""
        for path in self._folder.glob("*.new"):
            path.unlink()
        found = [(path.stat().st_mtime_ns, path) for path in self._folder.glob("*.jpg")]
        for _, path in sorted(found):
            self._count(path, path.stat().st_size)

    def _picture(self, frame: Frame, event: Event) -> bytes:
        image = frame.image
        if self._settings.what == "crop":
            image = _cropped(image, event.value.get("box"))
        if image.shape[1] > self._settings.width:
            height = max(1, round(image.shape[0] * self._settings.width / image.shape[1]))
            image = cv2.resize(image, (self._settings.width, height), interpolation=cv2.INTER_AREA).astype(image.dtype)
        _, jpeg = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self._settings.quality])
        return jpeg.tobytes()

    def _write(self, name: str, jpeg: bytes) -> None:
        path = self._folder / name
        fresh = path.with_suffix(".new")
        try:
            fresh.write_bytes(jpeg)
            fresh.replace(path)  # not synced: a picture is not worth a wait for the flash
        except OSError:
            fresh.unlink(missing_ok=True)
            raise
        self._count(path, len(jpeg))

    def _count(self, path: Path, size: int) -> None:
        """Add a file to the ring, and let the oldest go where it is over its limits."""
        self._kept.append((path, size))
        self._bytes += size
        while len(self._kept) > self._settings.max_files or self._bytes > self._settings.max_mb * 1e6:
            oldest, its_size = self._kept.popleft()
            self._bytes -= its_size
            oldest.unlink(missing_ok=True)


def _cropped(image: UInt8, box: object) -> UInt8:
    """The part in a box, 0..1; the whole where there is none."""
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return image
    height, width = image.shape[:2]
    x1, x2 = (min(width, max(0, round(float(x) * width))) for x in (box[0], box[2]))
    y1, y2 = (min(height, max(0, round(float(y) * height))) for y in (box[1], box[3]))
    return image[y1:y2, x1:x2] if x1 < x2 and y1 < y2 else image
