"""Frame sources, one file for each type. This module is the contract; capture/thread.py and capture/clips.py drive it.

A source is a class `Source(clock, *, options…)` whose keyword arguments are the schema of its config block. The
constructor validates the options, and does not connect or open a device: `edge-app check` constructs every source.

A network source annotates the option for its address, `url: Annotated[str, Url("rtsp")]`, bounds all waiting by options
that end in `timeout_s`, and shows addresses with `errors.mask_urls`. Its tests are tests/sources/test_hostile_peers.py
and test_secrets.py, which find it by the annotation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from edge_app.frame import Frame

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")  # of files that `images` reads


@dataclass(frozen=True, slots=True)
class LiveLimits:
    """Limits of a live source in seconds. capture/thread.py replaces a source that exceeds one.

    hang_after_s: longest duration of one `read`, including opening the device.
    silent_after_s: longest time without a new frame.
    stale_after_s: greatest age of a frame when `read` returns it, beyond the frames that coding holds back.
    frozen_after_s: longest time that the image may stay the same, byte for byte; 0 disables the check.
    """

    hang_after_s: float
    silent_after_s: float
    stale_after_s: float
    frozen_after_s: float


class Source(Protocol):
    """One camera, stream or recorded clip. Used by one thread; not usable after `close`.

    A clip may have an attribute `missing: int`: frames that it could not deliver because its file is damaged; and
    `length: int | None`: frames that it declares, once it is known, for the display of progress.
    """

    @property
    def live(self) -> LiveLimits | None:
        """The limits of a live source, whose frames arrive at their own pace and are dropped if not read in time.

        None for a clip: its frames wait to be read, and none is dropped.
        """
        ...

    def read(self, timeout_s: float) -> Frame | None:
        """Return the next frame, or None if no new frame arrives within timeout_s.

        A live source may take longer, up to its `hang_after_s`. The first call opens the device. Frames are numbered
        from 0 and stamped with the clock; `Frame.source` is the type until the capture package sets the configured
        name. The caller owns the pixels (privacy masks are painted into them): the source must not read or write them
        later. Raises EndOfClip after the last frame, SourceError if the camera is lost (the caller reconnects with a
        new Source), ClipError if a file cannot be used.
        """
        ...

    def close(self) -> None:
        """Release the device. Called by the reading thread; safe to call twice."""
        ...
