"""Limit the memory that FFmpeg allocates at once, inside OpenCV: an RTSP server may announce an answer of 2 GB.

OpenCV has no option for it, so this calls libavutil's function. Not a source: the registry skips names with an
underscore.
"""

from __future__ import annotations

import ctypes
from contextlib import suppress
from pathlib import Path

from edge_app.sources._limits import max_pixels

_MIN_BYTES = 8 << 20
_BYTES_PER_PIXEL = 4  # the BGR image has 3, and each row is padded
_MAPS = Path("/proc/self/maps")


def limit_allocations() -> int | None:
    """Limit each allocation to the largest image that this machine decodes. Applies to the whole process.

    Returns the limit in bytes; None if no libavutil is loaded, or it is linked into OpenCV.
    """
    max_bytes = max(_MIN_BYTES, _BYTES_PER_PIXEL * max_pixels())
    limited = False
    for file in _libraries():
        with suppress(OSError, AttributeError):
            ctypes.CDLL(file).av_max_alloc(ctypes.c_size_t(max_bytes))
            limited = True
    return max_bytes if limited else None


def _libraries() -> set[str]:
    """The files of libavutil that this process has loaded."""
    with suppress(OSError):
        lines = _MAPS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        files = {line.split(maxsplit=5)[5] for line in lines if "/libavutil" in line}
        return {file for file in files if "/libavutil" in file}
    return set()
