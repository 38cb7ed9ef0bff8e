"""The capture stage: a thread that reads the source ahead of the pipeline, and keeps a camera alive.

Clips are decoded ahead into a small bounded queue: nothing is dropped and the order is kept. Of a live source only the
latest frame waits, and what it replaces is counted. A live source that fails, falls silent, hands over old frames or a
picture that no longer changes is closed and made anew, with backoff; one that hangs is left behind with its thread.
Not here: the sources themselves (sources/), and what is made of a lost camera (whoever reads `stats`).
"""

from __future__ import annotations

import logging
import math
import random
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

from edge_app import config, registry
from edge_app.backoff import Backoff
from edge_app.capture.frozen import FrozenDetector
from edge_app.clock import Clock
from edge_app.errors import ClipError, SourceError
from edge_app.frame import Frame
from edge_app.geometry.orientation import Geometry
from edge_app.sources import Live, Source

_SLICE_S = 0.1  # of waiting inside a source, so that closing and silence are noticed
_CLOSE_S = 2.0  # what close() waits for the thread, unless told, before it leaves it behind
_MAX_HANGING = 4  # threads left behind and still hanging; beyond, only a new process helps
_SETTLED_S = 10.0  # a camera that was back for so long starts the backoff anew
_LOG = logging.getLogger(__name__)

State = Literal["waiting", "running", "lost", "frozen", "ended", "closed"]


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """What happened so far. Times are the clock's monotonic_ns, as `Frame.captured_ns`.

    frames: handed to the reader; dropped: replaced by a later one before that. failures: times that the source could
    not be opened or was lost; reconnects: times that frames came again after that. abandoned: readers that hung.
    state: `waiting` for the first frame, `running`, `lost` (being retried), `frozen` (frames come but the picture
    stands still), `ended`, `closed`; since_ns: when it became so. last_error: of the latest failure, one line.
    last_frame_ns: captured_ns of the latest frame that the source gave, handed over or not.
    """

    state: State
    since_ns: int
    frames: int
    dropped: int
    failures: int
    reconnects: int
    abandoned: int
    last_error: str | None
    last_frame_ns: int | None


class _Reader:
    """A thread and the source it reads; `retired` once another has taken its place."""

    def __init__(self) -> None:
        self.thread: threading.Thread | None = None
        self.source: Source | None = None
        self.retired = False
        self.hang_after_s = math.inf
        self._busy_since_s: float | None = None  # a call into the source is under way

    def read(self, timeout_s: float) -> Frame | None:
        assert self.source is not None
        with self._watched():
            return self.source.read(timeout_s)

    def close(self) -> None:
        source, self.source = self.source, None
        if source is not None:
            with self._watched():
                source.close()

    @contextmanager
    def _watched(self) -> Iterator[None]:
        self._busy_since_s = time.monotonic()
        try:
            yield
        finally:
            self._busy_since_s = None

    def hangs(self) -> bool:
        busy_since_s = self._busy_since_s
        return busy_since_s is not None and time.monotonic() - busy_since_s > self.hang_after_s


class Capture:
    """Frames of one configured source, geometry applied, numbered across reconnects.

    Used by one thread; `stats` and `close` by any. prefetch: frames of a clip that are decoded ahead.
    """

    def __init__(
        self,
        config: config.SourceConfig,
        clock: Clock,
        *,
        prefetch: int = 1,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        common = config.common
        self._config = config
        self._clock = clock
        self._prefetch = prefetch
        self._backoff = backoff or Backoff()
        self._rng = rng or random.Random()
        self._geometry = Geometry(common.rotate, common.flip, common.crop, common.mask)
        self._stillness = FrozenDetector()
        self._changed = threading.Condition(threading.Lock())
        self._stop = threading.Event()
        # Everything below is guarded by _changed.
        self._live = False  # known once the source is built
        self._frames: deque[Frame] = deque()
        self._end: Exception | None = None  # what read() raises once the frames are used up
        self._reader: _Reader | None = None
        self._left_behind: list[_Reader] = []
        self._next_sequence = 0
        self._attempt = 0  # failures in a row, for the backoff
        self._away = False  # lost, and no frame has come since
        self._back_s = 0.0  # when frames came again, time.monotonic()
        self._delivered = self._dropped = self._failures = self._reconnects = self._abandoned = 0
        self._state: State = "waiting"
        self._since_ns = 0
        self._last_error: str | None = None
        self._last_frame_ns: int | None = None

    def __enter__(self) -> Capture:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Build the source and begin to read ahead. Raises ConfigError, and ClipError where the file is unusable."""
        source = self._build()
        with self._changed:
            self._since_ns = self._clock.monotonic_ns()
            self._start_reader(source)

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame of a clip, the latest of a live source, or None where none came in time.

        Raises EndOfClip behind the last one; ClipError; SourceError where a live source was absent from the start and
        `connect` is `required`, or where too many of its readers hang.
        """
        deadline_s = time.monotonic() + timeout_s
        with self._changed:
            while not self._frames:
                if self._end is not None:
                    raise self._end
                self._replace_hung_reader()
                remaining_s = deadline_s - time.monotonic()
                if remaining_s <= 0:
                    return None
                self._changed.wait(min(remaining_s, _SLICE_S))
            frame = self._frames.popleft()
            self._delivered += 1
            self._changed.notify_all()
        if self._live:  # here, so that nothing is spent on frames that are dropped
            self._shape(frame)
        return frame

    @property
    def state(self) -> State:
        return self._state

    def stats(self) -> CaptureStats:
        with self._changed:
            return CaptureStats(
                state=self._state,
                since_ns=self._since_ns,
                frames=self._delivered,
                dropped=self._dropped,
                failures=self._failures,
                reconnects=self._reconnects,
                abandoned=self._abandoned,
                last_error=self._last_error,
                last_frame_ns=self._last_frame_ns,
            )

    def close(self, timeout_s: float = _CLOSE_S) -> None:
        """Stop reading and release the source. A reader that hangs is left behind; it cannot be ended."""
        with self._changed:
            self._stop.set()
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.retired = True
            self._enter("closed")
            self._changed.notify_all()
        if reader is None or reader.thread is None:
            return
        reader.thread.join(timeout_s)
        with self._changed:
            self._abandoned += reader.thread.is_alive()

    # The reading thread.

    def _build(self) -> Source:
        plugin = self._config.plugin
        source: Source = registry.build("sources", plugin.type, self._clock, **plugin.options)
        return source

    def _start_reader(self, source: Source | None) -> None:
        reader = _Reader()
        reader.source = source
        reader.thread = threading.Thread(target=self._run, args=(reader,), name="capture", daemon=True)
        self._reader = reader
        reader.thread.start()

    def _run(self, reader: _Reader) -> None:
        """The thread: whatever ends it is raised by read()."""
        try:
            while not reader.retired:
                self._connect(reader)
        except Exception as exc:  # noqa: BLE001  (not swallowed: handed to the thread that reads)
            with self._changed:
                if reader.retired:
                    return
                self._end = exc
                if isinstance(exc, SourceError):
                    self._last_error = str(exc)
                self._enter("ended")
                self._changed.notify_all()

    def _connect(self, reader: _Reader) -> None:
        """Read one source until it ends or, if it is live, fails; then wait until it is time for another."""
        try:
            source = reader.source = reader.source or self._build()
            try:
                if source.live is None:
                    self._read_clip(reader)
                else:
                    self._read_live(reader, source.live)
            finally:
                reader.close()
        except ClipError:
            raise
        except SourceError as exc:
            with self._changed:
                if reader.retired:
                    return
                wait_s = self._lose(exc)
            self._stop.wait(wait_s)

    def _read_clip(self, reader: _Reader) -> None:
        while not reader.retired:
            frame = reader.read(_SLICE_S)
            if frame is None:
                continue
            self._shape(frame)
            with self._changed:
                while len(self._frames) >= self._prefetch and not reader.retired:
                    self._changed.wait()
                self._hand_over(reader, frame)

    def _read_live(self, reader: _Reader, live: Live) -> None:
        reader.hang_after_s = live.hang_after_s
        self._live = True
        first_sequence = self._next_sequence
        heard_s = time.monotonic()
        while not reader.retired:
            frame = reader.read(min(_SLICE_S, live.silent_after_s))
            now_s = time.monotonic()
            if frame is None:
                if now_s - heard_s > live.silent_after_s:
                    raise SourceError(f"{self._name}: no frame for {now_s - heard_s:.1f} s")
                continue
            heard_s = now_s
            frame.sequence += first_sequence
            age_s = (self._clock.monotonic_ns() - frame.captured_ns) * 1e-9
            if age_s > live.stale_after_s:
                raise SourceError(f"{self._name}: frames arrive {age_s:.1f} s late; at most {live.stale_after_s:g} s")
            still_s = self._stillness.update(frame.pixels, now_s)
            frozen = 0 < live.frozen_after_s <= still_s
            with self._changed:
                self._hand_over_latest(reader, frame, frozen)
            if frozen and self._stillness.reconnect_due(live.frozen_after_s):
                raise SourceError(f"{self._name}: the picture has not changed for {still_s:.1f} s")

    @property
    def _name(self) -> str:
        return self._config.common.name

    def _shape(self, frame: Frame) -> None:
        frame.source = self._name
        if not self._geometry.identity:
            frame.pixels = self._geometry.apply(frame.pixels, frame.format)

    # With _changed held.

    def _hand_over_latest(self, reader: _Reader, frame: Frame, frozen: bool) -> None:
        if self._frames and not reader.retired:
            self._frames.popleft()
            self._dropped += 1
        self._hand_over(reader, frame, frozen)

    def _hand_over(self, reader: _Reader, frame: Frame, frozen: bool = False) -> None:
        if reader.retired:
            return
        self._frames.append(frame)
        self._next_sequence = frame.sequence + 1
        self._last_frame_ns = frame.captured_ns
        if self._away:
            self._away = False
            self._back_s = time.monotonic()
            self._reconnects += 1
            away_s = (self._clock.monotonic_ns() - self._since_ns) * 1e-9
            _LOG.warning("%s: frames again after %.1f s", self._name, away_s)
        self._enter("frozen" if frozen else "running")
        self._changed.notify_all()

    def _enter(self, state: State) -> None:
        if state != self._state:
            self._state = state
            self._since_ns = self._clock.monotonic_ns()

    def _lose(self, error: SourceError) -> float:
        """Note a failure. Returns the seconds to wait before the next attempt.

        Raises the failure where the camera must be there from the start and never was.
        """
        self._failures += 1
        self._last_error = str(error)
        if self._next_sequence == 0 and self._config.common.connect == "required":
            raise error
        if not self._away:
            _LOG.warning("%s; trying again", error)
            if time.monotonic() - self._back_s > _SETTLED_S:
                self._attempt = 0
        still_frozen = self._state == "frozen" and not self._away
        self._enter("frozen" if still_frozen else "lost")
        self._away = True
        wait_s = self._backoff.wait_s(self._attempt, self._rng)
        self._attempt += 1
        self._changed.notify_all()
        return wait_s

    def _replace_hung_reader(self) -> None:
        reader = self._reader
        if reader is None or not reader.hangs():
            return
        reader.retired = True
        self._reader = None
        self._abandoned += 1
        self._left_behind = [r for r in (*self._left_behind, reader) if r.thread is not None and r.thread.is_alive()]
        error = SourceError(f"{self._name}: hangs, no answer for {reader.hang_after_s:g} s")
        if len(self._left_behind) > _MAX_HANGING:
            error = SourceError(f"{error}; {len(self._left_behind)} readers hang, only a new process helps")
            self._end = error
        try:
            self._lose(error)
        except SourceError:  # the camera is required
            self._end = error
        if self._end is None:
            self._start_reader(None)
        else:
            self._enter("ended")
            raise self._end
