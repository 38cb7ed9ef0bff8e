"""The capture stage of a replay: reads a recorded clip, on another thread a few frames ahead or on the caller's thread.

Not here: the thread (read_ahead.py); cameras, and clips in real time, which must not wait for the pipeline (thread.py).
"""

from __future__ import annotations

from collections.abc import Callable

from edge_app import config
from edge_app.capture.build import build_source
from edge_app.capture.connection import CaptureStats, State
from edge_app.capture.read_ahead import ReadAhead
from edge_app.clock import Clock
from edge_app.errors import ConfigError
from edge_app.frame import Frame
from edge_app.geometry.orientation import Geometry
from edge_app.sources import Source


class ClipReader:
    """Frames of one configured clip, geometry applied, in order, none dropped. Used by one thread.

    prepare: called with each frame on another thread, which reads ahead; None: nothing is read ahead.
    """

    def __init__(
        self, config: config.SourceConfig, clock: Clock, *, prepare: Callable[[Frame], None] | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._prepare = prepare
        self._reading: ReadAhead | None = None
        self._geometry = Geometry(config.common.rotate, config.common.flip, config.common.crop, config.common.mask)
        self._source: Source | None = None
        self._state: State = "waiting"
        self._since_ns = 0
        self._frames = 0
        self._last_frame_ns: int | None = None
        self._missing = 0

    def __enter__(self) -> ClipReader:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self) -> None:
        """Build the source. Raises ConfigError, also if it is live, or ClipError if the file is unusable."""
        plugin = self._config.plugin
        source = build_source(plugin, self._clock)
        if source.live is not None:
            raise ConfigError(f"replay: found a live source ({plugin.type}); expected a recorded clip")
        self._source = source
        self._since_ns = self._clock.monotonic_ns()
        if self._prepare is not None:
            self._reading = ReadAhead(self._read_source)

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None if there is none within timeout_s: the clip is paced, or its decoder is slow.

        Raises EndOfClip after the last frame, ClipError if the file is truncated or cannot be decoded.
        """
        try:
            frame = (self._read_source if self._reading is None else self._reading.read)(timeout_s)
        except Exception:
            self._enter("ended")
            raise
        if frame is None:
            return None
        self._frames += 1
        self._last_frame_ns = frame.captured_ns
        if self._state != "running":
            self._enter("running")
        return frame

    @property
    def state(self) -> State:
        return self._state

    def stats(self) -> CaptureStats:
        """Counters since the start. A clip never drops a frame, and never reconnects."""
        return CaptureStats(
            state=self._state,
            since_ns=self._since_ns,
            frames=self._frames,
            dropped=0,
            failures=0,
            reconnects=0,
            abandoned=0,
            last_error=None,
            last_frame_ns=self._last_frame_ns,
            missing=self._missing if self._source is None else int(getattr(self._source, "missing", 0)),
            expected=getattr(self._source, "length", None),
        )

    def close(self, timeout_s: float = 2.0) -> None:
        """Release the source. Safe to call twice. If a decoder hangs for timeout_s, its source is not released."""
        self._missing = self.stats().missing
        reading, self._reading = self._reading, None
        if reading is not None and not reading.close(timeout_s):
            self._source = None
            self._enter("closed")
        source, self._source = self._source, None
        if source is not None:
            source.close()
            self._enter("closed")

    def _read_source(self, timeout_s: float) -> Frame | None:
        assert self._source is not None
        frame = self._source.read(timeout_s)
        if frame is not None:
            frame.source = self._config.common.name
            if not self._geometry.identity:
                frame.pixels = self._geometry.apply(frame.pixels, frame.format)
            if self._prepare is not None:
                self._prepare(frame)
        return frame

    def _enter(self, state: State) -> None:
        self._state = state
        self._since_ns = self._clock.monotonic_ns()
