"""Limit the size of an image before it is decoded: a file of 48 kB may declare 400 million pixels.

Reads the headers of the formats that `images` accepts. Not a source: nothing is decoded here.
"""

from __future__ import annotations

import os
import struct

_MAX_PIXELS = 64_000_000
_BYTES_PER_PIXEL = 3  # BGR
_SHARE = 3  # an image takes at most a third of the memory
_CORE_HEADER = 12  # bytes of the oldest BMP header, whose sizes have 16 bits
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN = (0xD9, 0xDA)  # end of image, start of scan: no header follows


def max_pixels(memory_bytes: int | None = None) -> int:
    """The pixels that an image may have: 64 million, fewer if memory is small. memory_bytes: None for this machine."""
    if memory_bytes is None:
        memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min(_MAX_PIXELS, memory_bytes // (_SHARE * _BYTES_PER_PIXEL))


def too_large(width: int, height: int) -> str:
    """The reason to reject an image of this size, for an error message; "" if it may be decoded here."""
    limit = max_pixels()
    if width * height <= limit:
        return ""
    return f"has {width} x {height} pixels; expected at most {limit / 1e6:.1f} million on this machine"


def declared_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """Width and height that the header of a BMP, JPEG, PNG or WebP declares; None if it is none of these."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR":
            width, height = struct.unpack_from(">II", data, 16)
        elif data[:2] == b"\xff\xd8":
            return _jpeg_size(data)
        elif data[:2] == b"BM":
            core = struct.unpack_from("<I", data, 14)[0] == _CORE_HEADER
            width, height = struct.unpack_from("<HH" if core else "<ii", data, 18)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        else:
            return None
    except (struct.error, IndexError):
        return None
    return width, abs(height)  # a negative height of a BMP: the first row is the top


def _jpeg_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """From the first frame header (ITU T.81, B.2.2). None if a scan precedes it or the segments are damaged."""
    at = 2
    while data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker in _START_OF_FRAME:
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker in _SCAN:
            return None
        at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp_size(data: bytes | bytearray) -> tuple[int, int] | None:
    """From the first chunk (RFC 9649): the canvas, or the header of the one lossy or lossless image."""
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (int.from_bytes(data[at : at + 3], "little") + 1 for at in (24, 27))
        return (width, height) if len(data) >= 30 else None
    if kind == b"VP8L" and data[20] == 0x2F:
        bits = struct.unpack_from("<I", data, 21)[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None
