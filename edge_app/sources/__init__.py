"""Where frames come from, one file a type. This is the contract; capture.py drives it.

A source is `Source(clock, *, options…)`: constructing it opens nothing heavier than what tells whether it can be used,
and the keyword arguments are its block's schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_app.frame import Frame


@dataclass(frozen=True, slots=True)
class Live:
    """What a live source owes; capture.py makes a new one when it does not keep to it. All in seconds.

    hang_after_s: the longest that one `read` may take, opening included.
    silent_after_s: the longest without a new frame.
    stale_after_s: the oldest that a frame may be when it is handed over.
    frozen_after_s: the longest that the picture may stay the same, byte for byte; 0: for ever.
    """

    hang_after_s: float
    silent_after_s: float
    stale_after_s: float
    frozen_after_s: float


class Source(Protocol):
    """One camera, stream or recorded clip. Used by one thread, and never again after `close`."""

    @property
    def live(self) -> Live | None:
        """Of a source whose frames come by themselves, so that only the latest counts: what it owes.

        None of a clip: its frames wait to be read, and none is dropped.
        """
        ...

    def read(self, timeout_s: float) -> Frame | None:
        """The next frame, or None where nothing new came in time.

        A live source may take longer than timeout_s, up to its `hang_after_s`. Opens the device on first use. Frames
        are numbered from 0 and stamped with the clock; `Frame.source` is the type, until capture.py writes the
        configured name. The pixels are handed over: the source keeps no reference that it reads or writes later
        (privacy masks are painted into them). Raises EndOfClip behind the last one, SourceError where the camera is
        lost (the caller makes a new Source to reconnect), ClipError where a file cannot be used.
        """
        ...

    def close(self) -> None:
        """Release the device. Called by the thread that reads; safe to call twice."""
        ...
