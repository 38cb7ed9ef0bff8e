"""The capture stage of a replay: reads a recorded clip on the caller's thread.

It does not read ahead. Passing frames between threads costs more than decoding in parallel gains: on two cores a replay
was no faster than on one, and used 0.5 to 0.9 ms more CPU time a frame (`edge-app bench pipeline`).
Not here: cameras, and clips in real time, which must not wait for the pipeline (thread.py).
"""

from __future__ import annotations

from edge_app import config
from edge_app.capture.build import build_source
from edge_app.capture.connection import CaptureStats, State
from edge_app.clock import Clock
from edge_app.errors import ConfigError
from edge_app.frame import Frame
from edge_app.geometry.orientation import Geometry
from edge_app.sources import Source


class ClipReader:
    """Frames of one configured clip, geometry applied, in order, none dropped. Used by one thread."""

    def __init__(self, config: config.SourceConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._geometry = Geometry(config.common.rotate, config.common.flip, config.common.crop, config.common.mask)
        self._source: Source | None = None
        self._state: State = "waiting"
        self._since_ns = 0
        self._frames = 0
        self._last_frame_ns: int | None = None

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

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None if the clip is paced and the frame is not due yet.

        Raises EndOfClip after the last frame, ClipError if the file is truncated or cannot be decoded.
        """
        assert self._source is not None
        try:
            frame = self._source.read(timeout_s)
        except Exception:
            self._enter("ended")
            raise
        if frame is None:
            return None
        frame.source = self._config.common.name
        if not self._geometry.identity:
            frame.pixels = self._geometry.apply(frame.pixels, frame.format)
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
        )

    def close(self, timeout_s: float = 0.0) -> None:  # noqa: ARG002  same signature as Capture.close
        """Release the source. Safe to call twice."""
        source, self._source = self._source, None
        if source is not None:
            source.close()
            self._enter("closed")

    def _enter(self, state: State) -> None:
        self._state = state
        self._since_ns = self._clock.monotonic_ns()
