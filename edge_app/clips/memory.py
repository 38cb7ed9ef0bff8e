"""The memory that clips need, for the plan of `edge-app check`."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.config.clips import ClipsConfig

ENCODER_BYTES = 48 << 20  # private memory of an encoding process, measured at 640x480: see bench/RESULTS.md


def memory_of_clips(settings: ClipsConfig) -> Sequence[tuple[str, int]]:
    """What clips need at most, bytes: the images in memory, and the process that encodes a clip after an event."""
    images = f"event clips: JPEG images of up to {settings.before_s:g} s before an event, and of two clips"
    return (images, round(settings.memory_mb * 1e6)), ("event clips: the encoding process", ENCODER_BYTES)
