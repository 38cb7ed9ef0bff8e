"""From frames and events to clips: keeps the latest images in memory, and submits those around an event.

A thread of lower priority encodes images; a second one has finished clips encoded (worker.py). All times are capture
times, so that a clock that is set does not matter.
Not here: the ring of images (ring.py), the files (folder.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Thread

from edge_app.clips.encoders import Encoder
from edge_app.clips.folder import ClipFolder
from edge_app.clips.jpeg import Compressor
from edge_app.clips.ring import Ring
from edge_app.clips.worker import EncodingWorker, Job
from edge_app.config.clips import ClipsConfig
from edge_app.errors import foreign_exception
from edge_app.frame import Event, Frame, JsonValue

_LOG = logging.getLogger(__name__)
_NICENESS = 10  # of the thread that makes JPEG images; the pipeline has priority
_QUEUE_FRAMES = 2  # they keep their memory; a further one is skipped
_MAX_EVENTS = 1000  # whose clip is known, and that wait for the thread
_MAX_OPEN = 2  # clips at the same time; a third event joins one of them
_LEAD_S, _MAX_LEAD_S = 2.0, 30.0  # how long after its start an event is reported: assumed first, and at most
_SILENT_S = 1.0  # without a frame, the time goes on by the clock
_CLOSE_S = 1.0


@dataclass(slots=True)
class _OpenClip:
    """A clip in progress. until_ns: its end once none of its events is `open`. latest_ns: its end in any case."""

    name: str
    from_ns: int
    until_ns: int
    latest_ns: int
    events: list[str] = field(default_factory=list)
    open: set[str] = field(default_factory=set)

    @property
    def end_ns(self) -> int:
        return self.latest_ns if self.open else min(self.until_ns, self.latest_ns)


class Recorder:
    """Which clips are open, as events and images arrive. Used by one thread. No file, no clock."""

    def __init__(self, settings: ClipsConfig) -> None:
        self._before_ns, self._after_ns = round(settings.before_s * 1e9), round(settings.after_s * 1e9)
        self._max_ns = round(settings.max_s * 1e9)
        self._lead_ns = round(_LEAD_S * 1e9)
        self._max_bytes = round(settings.memory_mb * 1e6)
        self._open: list[_OpenClip] = []
        self.ring = Ring()

    def trim(self, now_ns: int, used: int) -> None:
        """Drop images that no clip will need. used: bytes of images that wait to be encoded."""
        keep_ns = now_ns - self._before_ns - self._lead_ns
        self.ring.trim(min([keep_ns, *(clip.from_ns for clip in self._open)]), self._max_bytes - used)

    def record(self, event: Event, now_ns: int) -> None:
        """Open, extend or end the clip of an event that was reported at now_ns."""
        if event.type == "new":
            lead_ns = min(now_ns - event.start_ns, round(_MAX_LEAD_S * 1e9))
            self._lead_ns = max(self._lead_ns, lead_ns)
            clip = self._clip_for(event, now_ns)
            clip.events.append(event.event_id)
            clip.open.add(event.event_id)
            clip.until_ns = max(clip.until_ns, now_ns + self._after_ns)
        elif event.type == "end":
            for clip in self._open:
                if event.event_id in clip.open:
                    clip.open.remove(event.event_id)
                    clip.until_ns = max(clip.until_ns, now_ns + self._after_ns)

    def finished(self, now_ns: int) -> list[Job]:
        """The clips that have ended."""
        ended = [clip for clip in self._open if clip.end_ns <= now_ns]
        self._open = [clip for clip in self._open if clip.end_ns > now_ns]
        jobs = [Job(c.name, tuple(c.events), self.ring.between(c.from_ns, c.end_ns)) for c in ended]
        return [job for job in jobs if job.stills]

    def _clip_for(self, event: Event, now_ns: int) -> _OpenClip:
        """An open clip that the event fits into, or a new one."""
        if self._open and (len(self._open) >= _MAX_OPEN or now_ns + self._after_ns <= self._open[-1].latest_ns):
            return self._open[-1]
        from_ns = event.start_ns - self._before_ns
        latest_ns = max(from_ns + self._max_ns, now_ns + self._after_ns)
        self._open.append(_OpenClip(event.event_id, from_ns, now_ns, latest_ns))
        return self._open[-1]


class Clips:
    """Clips of a running pipeline. encoders: instead of those of this machine.

    `submit` is for the pipeline's thread and costs next to nothing; any thread may call the other methods.
    """

    def __init__(self, folder: Path, settings: ClipsConfig, encoders: Sequence[Encoder] | None = None) -> None:
        self._settings = settings
        self._recorder = Recorder(settings)
        self._compressor = Compressor(settings.width, settings.quality, still_budget(settings))
        self._folder = ClipFolder(folder, round(settings.max_mb * 1e6))
        self._worker = EncodingWorker(self._folder, settings, encoders)
        self._interval_ns = round(1e9 / settings.fps)
        self._due_ns = 0
        self._events: deque[tuple[Event, int]] = deque(maxlen=_MAX_EVENTS)
        self._frames: Queue[Frame | None] = Queue(_QUEUE_FRAMES)
        self._names: dict[str, str] = {}  # of clips, by event id
        self._thread = Thread(target=self._run, name="clips", daemon=True)
        self._thread.start()

    def submit(self, frame: Frame, events: Iterable[Event]) -> None:
        """Take a processed frame and its events. Never blocks."""
        for event in events:
            if event.type != "update" and (not self._settings.rules or event.rule in self._settings.rules):
                self._events.append((event, frame.captured_ns))
        if frame.captured_ns >= self._due_ns:
            late_ns = frame.captured_ns - self._due_ns
            step_ns = self._interval_ns
            self._due_ns = self._due_ns + step_ns if late_ns < step_ns else frame.captured_ns + step_ns
            with contextlib.suppress(Full):  # this computer is too busy
                self._frames.put_nowait(frame)

    def reports(self) -> list[dict[str, JsonValue]]:
        """The clips written since the last call: each the field `clip` of a status message."""
        reports = self._worker.reports()
        for report in reports:
            for event_id in report["events"]:  # type: ignore[union-attr]
                self._names[str(event_id)] = str(report["name"])
        while len(self._names) > _MAX_EVENTS:
            del self._names[next(iter(self._names))]
        return reports

    def names(self) -> dict[str, str]:
        """The clip of each event that has one, by event id."""
        existing = self._folder.names()
        by_stem = {name.rpartition(".")[0]: name for name in existing}  # of an earlier run: the first event of a clip
        known = set(existing)
        return {**by_stem, **{event: name for event, name in list(self._names.items()) if name in known}}

    def path(self, name: str) -> Path | None:
        """The file of a clip; None if there is none of this name."""
        return self._folder.path(name)

    def status(self) -> Mapping[str, JsonValue]:
        """The field `clips` of the daemon's state."""
        worker = self._worker
        return {
            "written": worker.written,
            "dropped": worker.dropped,
            "encoder": worker.encoder,
            "last_error": worker.last_error,
            "disk_bytes": self._folder.bytes,
            "memory_bytes": self._recorder.ring.bytes + worker.memory_bytes,
            "quality": self._compressor.quality,
        }

    def close(self) -> None:
        """Stop; clips in progress are dropped. Safe to call twice."""
        if self._thread.is_alive():
            with contextlib.suppress(Full):
                self._frames.put(None, timeout=_CLOSE_S)
            self._thread.join(_CLOSE_S)
        self._worker.close()

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        last_ns, seen_s = 0, time.monotonic()
        while True:
            try:
                frame = self._frames.get(timeout=_SILENT_S)
            except Empty:  # the camera may be lost, which is when a clip is wanted
                self._advance(last_ns + round((time.monotonic() - seen_s) * 1e9))
                continue
            if frame is None:
                return
            last_ns, seen_s = frame.captured_ns, time.monotonic()
            try:
                self._recorder.ring.add(self._compressor.compress(frame))
            except Exception as exc:  # noqa: BLE001  (of OpenCV; the thread must survive)
                _LOG.warning("clips: a frame cannot be encoded: %s", foreign_exception(exc))
            self._advance(last_ns)

    def _advance(self, now_ns: int) -> None:
        while self._events:
            self._recorder.record(*self._events.popleft())
        for job in self._recorder.finished(now_ns):
            self._worker.submit(job)
        self._recorder.trim(now_ns, self._worker.memory_bytes)


def still_budget(settings: ClipsConfig) -> int:
    """Bytes for one image: two of the longest clips, one of them being encoded, have to fit into memory_mb."""
    longest_s = settings.max_s + settings.before_s + _LEAD_S
    return max(1, int(settings.memory_mb * 1e6 / (2 * longest_s * settings.fps)))
