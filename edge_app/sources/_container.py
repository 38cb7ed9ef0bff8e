"""Read the top-level boxes of a video file to detect a truncated file, and to say why a file cannot be decoded.

MP4 / MOV (ISO 14496-12), AVI (RIFF) and Matroska / WebM (RFC 8794). The frame counts in headers are less reliable: an
edit list or a longer audio track makes a complete clip look short. Not a source: nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_MAX_BOXES = 200_000  # a second of fragmented MP4 has two; a damaged file may have one every 8 bytes
_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def missing_bytes(path: Path) -> int:
    """The bytes that the boxes declare beyond the end of the file; 0 if the file is complete or declares no size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = max((start + length for _, start, length in _boxes(file, size)), default=0)
    return max(0, end - size)


def why_unreadable(path: Path) -> str:
    """Describe, for an error message, a file that FFmpeg cannot open."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        boxes = list(_boxes(file, size))
    if head[4:8] == b"ftyp" and not any(name == b"moov" and start + length <= size for name, start, length in boxes):
        return f"is truncated: an MP4 of {size} bytes without its index (moov)"
    if b"\0" not in head:
        try:
            head.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return "is a text file"
    return "is in a format that cannot be decoded here"


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and declared length of each top-level box. The last one may extend beyond the end of file."""
    file.seek(0)
    head = file.read(8)
    if head[:4] == b"RIFF":
        reader = _riff_box
    elif head[4:8] in _MP4_FIRST:
        reader = _mp4_box
    elif int.from_bytes(head[:4], "big") == _EBML:
        reader = _ebml_box
    else:
        return
    start = 0
    for _ in range(_MAX_BOXES):
        if start + 8 > size:
            return
        file.seek(start)
        name, length = reader(file.read(16))
        if length <= 0:  # unknown length: the box extends to the end of the file
            return
        yield name, start, length
        start += length


def _mp4_box(header: bytes) -> tuple[bytes, int]:
    length = int.from_bytes(header[:4], "big")
    if length == 1:  # a 64-bit length follows the name
        length = int.from_bytes(header[8:16], "big")
    return header[4:8], length


def _riff_box(header: bytes) -> tuple[bytes, int]:
    length = int.from_bytes(header[4:8], "little")
    return header[:4], 8 + length + length % 2 if length and header[:4] == b"RIFF" else 0


def _ebml_box(header: bytes) -> tuple[bytes, int]:
    """Only the two top-level elements, whose IDs have four bytes. A live recording has an unknown length: 0."""
    if int.from_bytes(header[:4], "big") not in (_EBML, _SEGMENT):
        return b"", 0
    bytes_of_length = 9 - header[4].bit_length()
    bits = 7 * bytes_of_length
    length = int.from_bytes(header[4 : 4 + bytes_of_length], "big") & ((1 << bits) - 1)
    return header[:4], 0 if length == (1 << bits) - 1 else 4 + bytes_of_length + length
