"""The capture stage: a thread that reads the source ahead of the pipeline and reconnects a lost camera.

Frames of a clip are decoded ahead into a small bounded queue: none is dropped, and they stay in order. A live source
keeps only its latest frame. If a live source fails, goes silent, or delivers stale frames or a frozen image, it is
closed and built again, with backoff. If it hangs, its thread is abandoned and another one takes over.
Not here: the sources themselves (sources/), events about a lost camera (pipeline/faults.py).
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

from edge_app import config
from edge_app.backoff import Backoff
from edge_app.capture.build import build_source
from edge_app.capture.connection import CaptureStats, Connection, State
from edge_app.capture.frame_queue import FrameQueue
from edge_app.capture.frozen import FrozenDetector
from edge_app.capture.reader import Reader
from edge_app.clock import Clock
from edge_app.errors import ClipError, EdgeError, EndOfClip, SourceError, foreign_exception
from edge_app.frame import Frame
from edge_app.geometry.orientation import Geometry
from edge_app.sources import LiveLimits, Source
from edge_app.threads import AbandonedThreads

_POLL_S = 0.1  # the longest wait inside a source, so that the thread notices closing and silence
_MAX_HUNG_THREADS = 4
_CODED_FRAMES = 8  # frames that encoder and decoder may hold, added to `stale_after_s`: 16 s at 0.5 frames a second
_INTERVAL_DECAY = 0.8  # per frame, of the longest interval between arrivals


def _no_one() -> None:
    """Nobody waits."""


class Capture:
    """Frames of one configured source, geometry applied, numbered across reconnects.

    Used by one thread; `stats` and `close` by any. prefetch: frames of a clip that are decoded ahead.
    notify: called on the capture thread when `read` has something new.
    """

    def __init__(
        self,
        config: config.SourceConfig,
        clock: Clock,
        *,
        prefetch: int = 1,
        notify: Callable[[], None] = _no_one,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        common = config.common
        self._config = config
        self._clock, self._notify = clock, notify
        self._geometry = Geometry(common.rotate, common.flip, common.crop, common.mask)
        self._frozen_detector = FrozenDetector()
        self._changed = threading.Condition(threading.Lock())
        self._stop = threading.Event()
        # The lock of _changed guards everything below.
        self._live = False  # until the source is built
        self._closed = False
        self._required = common.connect == "required"
        self._reader: Reader | None = None
        self._queue = FrameQueue(prefetch)
        self._connection = Connection(common.name, clock, backoff or Backoff(), rng or random.Random())
        self._abandoned = AbandonedThreads(_MAX_HUNG_THREADS)

    def __enter__(self) -> Capture:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, *, paused: bool = False) -> None:
        """Build the source and start reading ahead. Raises ConfigError, or ClipError if the file is unusable.

        paused: only check that the source can be built; `resume` starts reading.
        """
        source = build_source(self._config.plugin, self._clock)
        with self._changed:
            self._connection.start()
            if not paused:
                self._start_reader(source)
        if paused:
            source.close()
            self.pause()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame of a clip or the latest of a live source; None if none arrives within timeout_s.

        Raises EndOfClip after the last frame; ClipError; SourceError if a live source with `connect: required` was
        never available, or if too many of its threads hang.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not self._queue:
                if self._queue.end is not None:
                    raise self._queue.end
                self._replace_hung_reader()
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    return None
                self._changed.wait(min(remaining_s, _POLL_S))
            frame = self._queue.pop()
            self._changed.notify_all()
        if self._live:  # only now, so that dropped frames cost nothing
            self._apply_geometry(frame)
        return frame

    @property
    def state(self) -> State:
        return self._connection.state

    def stats(self) -> CaptureStats:
        with self._changed:
            connection, queue = self._connection, self._queue
            return CaptureStats(
                connection.state,
                connection.since_ns,
                queue.delivered,
                queue.dropped,
                connection.failures,
                connection.reconnects,
                self._abandoned.total,
                connection.last_error,
                queue.last_frame_ns,
                self._reader.missing if self._reader is not None else 0,
            )

    def close(self, timeout_s: float = 2.0) -> None:
        """Stop reading and release the source. A thread that hangs is abandoned."""
        with self._changed:
            self._closed = True
            self._stop.set()
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.retired = True
            self._connection.enter("closed")
            self._changed.notify_all()
        if reader is not None and not reader.join(timeout_s):
            with self._changed:
                self._abandoned.add(reader)

    def pause(self, timeout_s: float = 2.0) -> None:
        """Close the source and drop unread frames, until `resume`. `read` returns None in between."""
        self.close(timeout_s)
        with self._changed:
            self._closed = False
            self._queue.clear()
            self._required = False  # from now on, the absence of the camera does not end the process

    def resume(self) -> None:
        """Open the source again. If it is not there, that is tried again, as after a loss."""
        with self._changed:
            if self._closed or self._reader is not None:
                return
            self._stop = threading.Event()
            self._connection.restart()
            self._start_reader(None)

    def _run(self, reader: Reader) -> None:
        """The thread's main function. `read` raises the exception that ends it."""
        try:
            while not reader.retired:
                self._read_source(reader)
        except Exception as exc:  # noqa: BLE001  (raised again by `read`)
            with self._changed:
                if reader.retired:
                    return
                self._queue.end = exc
                if isinstance(exc, SourceError):
                    self._connection.last_error = str(exc)
                self._connection.enter("ended")
                self._changed.notify_all()
            self._notify()

    def _read_source(self, reader: Reader) -> None:
        """Read one source until it ends. If it is live and fails, wait until the next attempt is due."""
        try:
            source = reader.source = reader.source or build_source(self._config.plugin, self._clock)
            try:
                if source.live is None:
                    self._read_clip(reader)
                else:
                    self._read_live(reader, source.live)
            finally:
                reader.close()
        except (ClipError, EndOfClip):
            raise
        except SourceError as exc:
            self._reconnect_later(reader, exc)
        except Exception as exc:  # a live source must survive exceptions of libraries and a missing password file
            if not self._live and self._required:
                raise
            found = str(exc) if isinstance(exc, EdgeError) else foreign_exception(exc)
            self._reconnect_later(reader, SourceError(f"{self._connection.name}: {found}"))

    def _reconnect_later(self, reader: Reader, error: SourceError) -> None:
        with self._changed:
            if reader.retired:
                return
            wait_s = self._lose(error)
        self._stop.wait(wait_s)

    def _read_clip(self, reader: Reader) -> None:
        first_sequence = self._queue.next_sequence  # 0, or after a pause, which starts the clip again
        while not reader.retired:
            frame = reader.read(_POLL_S)
            if frame is None:
                continue
            frame.sequence += first_sequence
            self._apply_geometry(frame)
            with self._changed:
                while self._queue.full and not reader.retired:
                    self._changed.wait()
                if not reader.retired:
                    self._queue.put(frame)
                    self._connection.record_frame(frozen=False)
                    self._changed.notify_all()
            self._notify()

    def _read_live(self, reader: Reader, live: LiveLimits) -> None:
        name, reader.hang_after_s = self._connection.name, live.hang_after_s
        self._live = True
        first_sequence = self._queue.next_sequence
        last_frame_s, interval_s = time.monotonic(), 0.0
        while not reader.retired:
            frame = reader.read(min(_POLL_S, live.silent_after_s))
            now_s = time.monotonic()
            if frame is None:
                if now_s - last_frame_s > live.silent_after_s:
                    raise SourceError(f"{name}: no frame for {now_s - last_frame_s:.1f} s")
                continue
            interval_s = max(now_s - last_frame_s, interval_s * _INTERVAL_DECAY)
            last_frame_s = now_s
            frame.sequence += first_sequence
            age_s = (self._clock.monotonic_ns() - frame.captured_ns) * 1e-9
            if age_s > live.stale_after_s + _CODED_FRAMES * interval_s:
                raise SourceError(f"{name}: frames arrive {age_s:.1f} s late; at most {live.stale_after_s:g} s")
            unchanged_s = self._frozen_detector.update(frame.pixels, now_s)
            frozen = 0 < live.frozen_after_s <= unchanged_s
            with self._changed:
                if not reader.retired:
                    self._queue.put_latest(frame)
                    self._connection.record_frame(frozen=frozen)
                    self._changed.notify_all()
            self._notify()
            if frozen and self._frozen_detector.reconnect_due(live.frozen_after_s):
                raise SourceError(f"{name}: the image has not changed for {unchanged_s:.1f} s")

    def _start_reader(self, source: Source | None) -> None:
        self._reader = Reader(source)
        self._reader.start(self._run)

    def _apply_geometry(self, frame: Frame) -> None:
        frame.source = self._connection.name
        if not self._geometry.identity:
            frame.pixels = self._geometry.apply(frame.pixels, frame.format)

    def _lose(self, error: SourceError) -> float:
        """Record a failure, lock held. Returns the seconds to wait before the next attempt.

        Raises the failure if the camera is required and has never delivered a frame.
        """
        self._connection.record_failure(error)
        if self._queue.next_sequence == 0 and self._required:
            raise error
        wait_s = self._connection.lose(error)
        self._changed.notify_all()
        return wait_s

    def _replace_hung_reader(self) -> None:
        """If the reader hangs, abandon it and start another, lock held. Raises SourceError if that is not possible."""
        reader = self._reader
        if reader is None or not reader.hangs():
            return
        reader.retired = True
        self._reader = None
        self._abandoned.add(reader)
        error = SourceError(f"{self._connection.name}: hung, no answer for {reader.hang_after_s:g} s")
        if self._abandoned.over_limit:
            error = SourceError(f"{error}; {self._abandoned.count} threads hang; only a new process helps")
            self._queue.end = error
        try:
            self._lose(error)
        except SourceError:  # the camera is required
            self._queue.end = error
        if self._queue.end is not None:
            self._connection.enter("ended")
            raise self._queue.end
        self._start_reader(None)
