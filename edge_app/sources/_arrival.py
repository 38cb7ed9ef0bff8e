"""When the frames of a network stream were captured: estimated from their arrival and the stream's own times.

A frame arrives late by the time that the network and decoders on the way hold it. The stream's times tell how much
later than the least delayed frame of the last seconds: a camera cannot send what it has not captured yet.
Not a source: the registry skips names with an underscore.
"""

from __future__ import annotations

from collections import deque

from edge_app.clock import Clock

_SECOND = 1_000_000_000
_WINDOW_NS = 8 * _SECOND  # a wrong minimum is forgotten after this, and after as many newer frames as
_WINDOW_FRAMES = 8
_RISE = 0.02  # seconds per second by which the least delay may rise without being a backlog: a camera's clock is slow
_MAX_HIDDEN = 32
_MAX_RUN = 7  # B-frames in a row; more of them refer to earlier frames only, and nothing is reordered
_STEP_NS = 1000  # between two frames whose estimates are equal
_UTC_STEP_NS = _SECOND // 10  # a smaller change between two frames is the time that reading the clocks took


class ArrivalClock:
    """Stamps the frames of one connection. The stamps rise strictly and are never later than the arrival.

    backlog_s: how much longer the latest frame took than the least delayed one of the connection.
    interval_s: the latest interval of the stream.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_ns: int | None = None
        self._last_utc: tuple[int, int] | None = None  # stamp, offset to the other clock
        self._delays = DelayEstimator()
        self._least = _LeastDelay()
        self._opening: _Opening | None = None
        self.backlog_s = 0.0
        self.interval_s = 0.0

    def start(self) -> None:
        """The connection is being opened: no frame was captured before."""
        self._opening = _Opening(self._clock.monotonic_ns())

    def stamp(self, stream_ns: int | None = None, hidden_frames: int = 0) -> tuple[int, int]:
        """Return captured_ns and utc_ns of a frame that arrives now.

        stream_ns: its time in the stream, any origin; None if there is none. hidden_frames: see `DelayEstimator`.
        """
        now_ns = self._clock.monotonic_ns()
        lag_ns = 0
        if stream_ns is not None:
            lag_ns = self._delays.update(now_ns, stream_ns, hidden_frames)
            self.backlog_s = self._least.update(now_ns, stream_ns) * 1e-9
            self.interval_s = self._least.interval_ns * 1e-9
        captured_ns = now_ns - lag_ns
        if self._opening is not None and stream_ns is not None:
            first_ns = self._opening.stamp(now_ns, stream_ns)
            if self._opening.is_over(hidden_frames):
                self._opening = None
            else:
                captured_ns = min(captured_ns, first_ns)
        if self._last_ns is not None:
            captured_ns = max(captured_ns, self._last_ns + _STEP_NS)
        self._last_ns = captured_ns
        return captured_ns, self._utc(captured_ns, self._clock.utc_ns() - now_ns)

    def _utc(self, captured_ns: int, offset_ns: int) -> int:
        """The stamp in UTC. It falls only if the wall clock is set back: reading two clocks takes time too."""
        utc_ns = captured_ns + offset_ns
        if self._last_utc is not None:
            last_ns, last_offset_ns = self._last_utc
            if offset_ns > last_offset_ns - _UTC_STEP_NS:
                utc_ns = max(utc_ns, last_ns + _STEP_NS)
        self._last_utc = utc_ns, offset_ns
        return utc_ns


class DelayEstimator:
    """How long a frame was on its way, beyond the shortest time that any frame of the last seconds took.

    hidden_frames: a decoder returns a frame only when the data of so many later ones has arrived. So the data of the
    latest frame has arrived when the one so many frames before it was returned.
    """

    def __init__(self) -> None:
        self._arrivals: deque[int] = deque(maxlen=_MAX_HIDDEN + 1)
        self._window: deque[tuple[int, int, int]] = deque()  # frame, arrival, delay; the delays rise
        self._hidden = 0
        self._frame = 0
        self._last_stream_ns: int | None = None

    def update(self, now_ns: int, stream_ns: int, hidden_frames: int = 0) -> int:
        """Return the frame's delay in ns, >= 0. now_ns: arrival; stream_ns: presentation time, any origin."""
        hidden = min(hidden_frames, _MAX_HIDDEN)
        backward = self._last_stream_ns is not None and stream_ns <= self._last_stream_ns
        if backward or hidden != self._hidden:  # frames are in order of presentation: the stream's clock was set
            self._window.clear()
        self._hidden, self._last_stream_ns = hidden, stream_ns
        self._arrivals.append(now_ns)
        data_ns = self._arrivals[max(0, len(self._arrivals) - 1 - hidden)]
        self._insert(now_ns, data_ns - stream_ns)
        return max(0, now_ns - stream_ns - self._window[0][2])

    def _insert(self, now_ns: int, delay_ns: int) -> None:
        """Append a delay; the first element is the minimum of the window (a monotonic queue)."""
        window = self._window
        while window and window[-1][2] >= delay_ns:
            window.pop()
        window.append((self._frame, now_ns, delay_ns))
        while window[0][0] <= self._frame - _WINDOW_FRAMES and window[0][1] < now_ns - _WINDOW_NS:
            window.popleft()
        self._frame += 1


class _Opening:
    """Stamps the first frames, which arrive late: FFmpeg reads some before it returns one, and decoders hold others.

    No later stamp may be lower than one that is too late, so these count from the opening.
    """

    def __init__(self, opened_ns: int) -> None:
        self._stamp_ns = opened_ns
        self._last: tuple[int, int] | None = None  # arrival, presentation time
        self._interval_ns = 0
        self._in_time = 0  # consecutive frames that were waited for

    def stamp(self, now_ns: int, stream_ns: int) -> int:
        if self._last is not None:
            last_ns, last_stream_ns = self._last
            if stream_ns > last_stream_ns:
                self._interval_ns = stream_ns - last_stream_ns
            self._stamp_ns += self._interval_ns  # after a step, too
            waited = 2 * (now_ns - last_ns) > self._interval_ns
            self._in_time = self._in_time + 1 if waited else 0
        self._last = now_ns, stream_ns
        return self._stamp_ns

    def is_over(self, hidden_frames: int) -> bool:
        """Whether the data of the latest frame arrived in time, so that its delay is known."""
        return self._in_time > hidden_frames


class _LeastDelay:
    """A backlog that grows slowly: the delay beyond the least one so far, which is forgotten by `_RISE`."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None  # arrival, presentation time
        self._least_ns = 0.0
        self.interval_ns = 0

    def update(self, now_ns: int, stream_ns: int) -> float:
        """Return the delay in ns, >= 0."""
        delay_ns = now_ns - stream_ns
        if self._last is None or stream_ns <= self._last[1]:
            self._least_ns = delay_ns
        else:
            self.interval_ns = stream_ns - self._last[1]
            self._least_ns = min(delay_ns, self._least_ns + (now_ns - self._last[0]) * _RISE)
        self._last = now_ns, stream_ns
        return delay_ns - self._least_ns


class Reordering:
    """How many frames late a stream with B-frames is: those that its encoder and the decoder hold to reorder them."""

    def __init__(self) -> None:
        self._run = 0
        self._longest = 0

    def update(self, frame_type: str) -> int:
        """Return the frames. frame_type: of the next frame in presentation order: I, P or B."""
        if frame_type == "B":
            self._run += 1
        else:
            if self._run <= _MAX_RUN:
                self._longest = max(self._longest, self._run)
            self._run = 0
        longest = max(self._longest, self._run) if self._run <= _MAX_RUN else self._longest
        if not longest:
            return 0
        # The encoder waits for the frame after the run. The decoder waits for one more, or two if B-frames are
        # references themselves, as encoders make them in runs of three and more.
        return longest + (2 if longest > 2 else 1)
