"""The memory that clips need, for the plan of `edge-app check`."""

from __future__ import annotations

from collections.abc import Sequence

from edge_app.config.clips import ClipsConfig

_ENCODER_BYTES, _BYTES_PER_PIXEL = 20 << 20, 60  # private memory of PyAV, ffmpeg and OpenCV: bench/RESULTS.md
_HEIGHT = 0.75  # of a 4:3 image, by its width


def memory_of_clips(settings: ClipsConfig) -> Sequence[tuple[str, int]]:
    """What clips need at most, bytes: the images in memory, and the process that encodes a clip after an event."""
    images = f"event clips: JPEG images of up to {settings.before_s:g} s before an event, and of two clips"
    encoder = _ENCODER_BYTES + round(settings.width**2 * _HEIGHT) * _BYTES_PER_PIXEL
    return (images, round(settings.memory_mb * 1e6)), ("event clips: the process that encodes one", encoder)
