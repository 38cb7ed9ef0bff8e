"""Snapshots: the frame at which an event began, as JPEG files named by event id, in a bounded ring under state_dir.

A separate thread encodes and writes. If it cannot keep up, or the disk fails, snapshots are dropped and counted.
Privacy masks are already applied (geometry/orientation.py). Not here: which events there are (rules/).
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
_QUEUE_FRAMES = 4
_ID = re.compile(r"[A-Za-z0-9._-]{1,200}")
_CLOSE_S = 1.0


class Snapshots:
    """The ring of snapshots. dropped: number of snapshots that were not written."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder = folder
        self._settings = settings
        self.dropped = 0
        self._files: deque[tuple[Path, int]] = deque()
        self._bytes = 0
        self._queue: Queue[tuple[Frame, list[Event]] | None] = Queue(_QUEUE_FRAMES)
        self._thread = Thread(target=self._run, name="snapshots", daemon=True)
        self._thread.start()

    def submit(self, frame: Frame, events: Sequence[Event]) -> None:
        """Queue a snapshot for each event that begins at this frame. Never blocks."""
        began = [event for event in events if event.type == "new" and _ID.fullmatch(event.event_id)]
        if not began:
            return
        try:
            self._queue.put_nowait((frame, began))
        except Full:
            self.dropped += len(began)

    def read(self, event_id: str) -> bytes | None:
        """The JPEG of an event; None if it does not exist or was deleted."""
        if not _ID.fullmatch(event_id) or event_id.startswith("."):
            return None
        with contextlib.suppress(OSError):
            return (self._folder / f"{event_id}.jpg").read_bytes()
        return None

    def event_ids(self) -> set[str]:
        """The ids of the events that have a snapshot."""
        return {path.stem for path, _ in list(self._files)}

    def close(self) -> None:
        """Write the queued snapshots and stop. Safe to call twice."""
        if self._thread.is_alive():
            with contextlib.suppress(Full):
                self._queue.put(None, timeout=_CLOSE_S)
            self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            self._load_existing()
        while (item := self._queue.get()) is not None:
            frame, events = item
            for event in events:
                try:
                    self._write(f"{event.event_id}.jpg", self._encode(frame, event))
                except OSError as exc:
                    self.dropped += 1
                    _LOG.warning("%s: snapshot not written: %s", self._folder, exc.strerror)

    def _load_existing(self) -> None:
        """Add the files of an earlier run to the ring, oldest first; delete unfinished ones."""
        for path in self._folder.glob("*.new"):
            path.unlink()
        files = [(path.stat().st_mtime_ns, path) for path in self._folder.glob("*.jpg")]
        for _, path in sorted(files):
            self._add(path, path.stat().st_size)

    def _encode(self, frame: Frame, event: Event) -> bytes:
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
        temporary = path.with_suffix(".new")
        try:
            temporary.write_bytes(jpeg)
            temporary.replace(path)  # not synced: a snapshot does not justify waiting for the flash
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        self._add(path, len(jpeg))

    def _add(self, path: Path, size: int) -> None:
        """Add a file to the ring; delete the oldest files while the ring exceeds its limits."""
        self._files.append((path, size))
        self._bytes += size
        while len(self._files) > self._settings.max_files or self._bytes > self._settings.max_mb * 1e6:
            oldest, oldest_size = self._files.popleft()
            self._bytes -= oldest_size
            oldest.unlink(missing_ok=True)


def _cropped(image: UInt8, box: object) -> UInt8:
    """Crop an image to a box (x1, y1, x2, y2), 0..1; return the whole image if the box is missing or empty."""
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return image
    height, width = image.shape[:2]
    x1, x2 = (min(width, max(0, round(float(x) * width))) for x in (box[0], box[2]))
    y1, y2 = (min(height, max(0, round(float(y) * height))) for y in (box[1], box[3]))
    return image[y1:y2, x1:x2] if x1 < x2 and y1 < y2 else image
