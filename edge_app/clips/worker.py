"""The thread that has clips encoded, one at a time, at the lowest priority.

If an encoder fails for another reason than a full disk, the next one is tried and then kept. A timeout counts only if
the clip before it timed out too: on a busy computer, this priority gets no time.
Not here: which images a clip has (recorder.py), the encoders (encoders.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import subprocess
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Full, Queue
from threading import Thread

from edge_app.clips.encoders import EncodeError, Encoder, EncodeTimeout, available, run
from edge_app.clips.folder import ClipFolder
from edge_app.clips.jpeg import Still
from edge_app.clips.timeline import at_constant_rate
from edge_app.config.clips import ClipsConfig
from edge_app.frame import JsonValue
from edge_app.messages import rfc3339

_LOG = logging.getLogger(__name__)
_NICENESS = 19
_TIMEOUT_S = 120.0  # for one clip; the other threads and processes have priority
_CLOSE_S = 1.0
_MIN_FREE = 2 << 20  # bytes of the file system; an encoder that fails with less failed because of that
_MAX_REPORTS = 100


@dataclass(frozen=True, slots=True)
class Job:
    """A clip to encode. events: their ids. stills: at least one."""

    name: str
    events: tuple[str, ...]
    stills: Sequence[Still]

    @property
    def bytes(self) -> int:
        return sum(len(still.jpeg) for still in self.stills)


class EncodingWorker:
    """Encodes submitted clips. written, dropped: numbers of clips. last_error: why the latest was dropped, or None."""

    def __init__(self, folder: ClipFolder, settings: ClipsConfig, encoders: Sequence[Encoder] | None = None) -> None:
        self._folder = folder
        self._settings = settings
        self._encoders = deque(available() if encoders is None else encoders)
        self._reports: deque[dict[str, JsonValue]] = deque(maxlen=_MAX_REPORTS)
        self._jobs: Queue[Job | None] = Queue(1)
        self._current: Job | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._timeouts = 0  # in succession
        self.written = self.dropped = 0
        self.last_error: str | None = None
        self._thread = Thread(target=self._run, name="clip-encoder", daemon=True)
        self._thread.start()

    @property
    def encoder(self) -> str:
        """The name of the encoder in use."""
        return self._encoders[0].name

    @property
    def memory_bytes(self) -> int:
        """Memory of the images that wait to be encoded."""
        waiting = list(self._jobs.queue)
        return sum(job.bytes for job in (self._current, *waiting) if job is not None)

    def submit(self, job: Job) -> None:
        """Encode a clip after those before it; drop it if two are not finished yet. Never blocks."""
        try:
            self._jobs.put_nowait(job)
        except Full:
            self._drop("the clips before it are still being encoded")

    def reports(self) -> list[dict[str, JsonValue]]:
        """A description of each clip written since the last call: the field `clip` of a status message."""
        found = []
        while self._reports:
            found.append(self._reports.popleft())
        return found

    def close(self) -> None:
        """Kill the encoder and stop; clips that are not finished are dropped. Safe to call twice."""
        self._stopping = True
        with contextlib.suppress(Full):
            self._jobs.put_nowait(None)
        process = self._process
        if process is not None:
            process.kill()
        self._thread.join(_CLOSE_S)

    def _run(self) -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)  # processes that it starts inherit it
        try:
            self._folder.prepare()
        except OSError as exc:
            self._fail(f"the folder of clips cannot be used: {exc.strerror}")
        while (job := self._jobs.get()) is not None and not self._stopping:
            self._current = job
            try:
                self._encode(job)
            except (EncodeError, OSError) as exc:
                if not self._stopping:
                    self._drop(exc.strerror or str(exc) if isinstance(exc, OSError) else str(exc))
            finally:
                self._current = None

    def _encode(self, job: Job) -> None:
        """Write a clip and its report. Raises EncodeError or OSError."""
        rate, stills = at_constant_rate(job.stills, self._settings.fps)
        name = self._write(job, rate, stills)
        size = self._folder.add(name)
        self.written += 1
        self._timeouts = 0
        self.last_error = None
        first, last = job.stills[0], job.stills[-1]
        self._reports.append(
            {
                "name": name,
                "events": list(job.events),
                "start": rfc3339(first.utc_ns),
                "duration_s": round((last.captured_ns - first.captured_ns) * 1e-9, 3),
                "bytes": size,
            }
        )

    def _write(self, job: Job, rate: float, stills: Sequence[Still]) -> str:
        """Encode with the first encoder that works. Returns the name of the file."""
        images = [still.jpeg for still in stills]
        for attempt in range(len(self._encoders)):
            encoder = self._encoders[0]
            name = f"{job.name}{encoder.suffix}"
            limit = max(1, round(self._settings.max_mb * 1e6))
            try:
                run(
                    encoder,
                    images,
                    rate,
                    self._folder.temporary(name),
                    max_bytes=limit,
                    timeout_s=_TIMEOUT_S,
                    started=self._started,
                )
                return name
            except EncodeError as exc:
                self._folder.discard(name)
                if self._disk_full(exc):
                    raise EncodeError("no space left on the disk") from exc
                self._timeouts = self._timeouts + 1 if isinstance(exc, EncodeTimeout) else 0
                if attempt == len(self._encoders) - 1 or self._stopping or self._timeouts == 1:
                    raise
                self._encoders.rotate(-1)
                _LOG.warning("clips: %s; using %s", exc, self._encoders[0].name)
            finally:
                self._process = None
        raise AssertionError("there is always an encoder")

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        if self._stopping:
            process.kill()

    def _disk_full(self, error: EncodeError) -> bool:
        if "No space left" in str(error):
            return True
        with contextlib.suppress(OSError):
            return shutil.disk_usage(self._folder.folder).free < _MIN_FREE
        return False

    def _drop(self, why: str) -> None:
        self.dropped += 1
        self._fail(f"clip dropped: {why}")

    def _fail(self, text: str) -> None:
        if text != self.last_error:  # once, however many clips it concerns
            _LOG.warning("clips: %s", text)
        self.last_error = text
