"""The capture stage of a replay: a recorded clip, read by the thread that asks for its frames.

Nothing is read ahead. Handing frames from thread to thread cost more than decoding beside inference gained: on two
cores a replay was no faster than pinned to one, and took 0.5 to 0.9 ms more of CPU time a frame (bench/README.md).
Not here: cameras, and clips played at their own pace, which must not wait for the pipeline (capture.py).
"""

from __future__ import annotations

from edge_app import config, registry
from edge_app.capture.thread import CaptureStats, State
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
        """Build the source. Raises ConfigError, also where it is live, and ClipError where the file is unusable."""
        plugin = self._config.plugin
        source: Source = registry.build("sources", plugin.type, self._clock, **plugin.options)
        if source.live is not None:
            raise ConfigError(f"replay: found a live source ({plugin.type}); expected a recorded clip")
        self._source = source
        self._since_ns = self._clock.monotonic_ns()

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame. None where the clip is paced and it is not due yet.

        Raises EndOfClip behind the last one, ClipError where the file breaks off or cannot be decoded.
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
        """Nothing is ever dropped, lost or abandoned."""
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

    def close(self, timeout_s: float = 0.0) -> None:  # noqa: ARG002  as Capture, whose thread may have to be waited for
        """Release the source. Safe to call twice."""
        source, self._source = self._source, None
        if source is not None:
            source.close()
            self._enter("closed")

    def _enter(self, state: State) -> None:
        self._state = state
        self._since_ns = self._clock.monotonic_ns()
