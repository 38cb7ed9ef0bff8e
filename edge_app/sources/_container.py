"""What a video file's outermost boxes tell: whether it is all there, and what it is if it is no video.

MP4 / MOV (ISO 14496-12), AVI (RIFF) and Matroska / WebM (RFC 8794). Frame counts in headers tell less: an edit list or
a longer sound track makes a whole clip look short. Not a source: nothing is decoded here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")


def missing_bytes(path: Path) -> int:
    """How many bytes the boxes promise beyond the end of the file; 0 where it is whole or does not tell."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = max((start + length for _, start, length in _boxes(file, size)), default=0)
    return max(0, end - size)


def why_unreadable(path: Path) -> str:
    """What a file is that FFmpeg refused, in a user's words."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(4096)
        boxes = list(_boxes(file, size))
    if head[4:8] == b"ftyp" and not any(name == b"moov" and start + length <= size for name, start, length in boxes):
        return f"was cut off: an MP4 of {size} bytes without its index (moov)"
    if b"\0" not in head:
        try:
            head.decode("utf-8")
        except UnicodeDecodeError:
            pass
        else:
            return "is a text file"
    return "is in no format that can be decoded here"


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[bytes, int, int]]:
    """Name, start and length of each outermost box as it is written, the last one perhaps beyond the end."""
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
    while start + 8 <= size:
        file.seek(start)
        name, length = reader(file.read(16))
        if length <= 0:  # unknown: up to the end, however far that is
            return
        yield name, start, length
        start += length


def _mp4_box(header: bytes) -> tuple[bytes, int]:
    length = int.from_bytes(header[:4], "big")
    if length == 1:  # the length is in 64 bits behind the name
        length = int.from_bytes(header[8:16], "big")
    return header[4:8], length


def _riff_box(header: bytes) -> tuple[bytes, int]:
    length = int.from_bytes(header[4:8], "little")
    return header[:4], 8 + length + length % 2 if length and header[:4] == b"RIFF" else 0


def _ebml_box(header: bytes) -> tuple[bytes, int]:
    """Only a file's two outermost elements, whose names have four bytes; a recording that goes on has no length."""
    if int.from_bytes(header[:4], "big") not in (_EBML, _SEGMENT):
        return b"", 0
    bytes_of_length = 9 - header[4].bit_length()
    bits = 7 * bytes_of_length
    length = int.from_bytes(header[4 : 4 + bytes_of_length], "big") & ((1 << bits) - 1)
    return header[:4], 0 if length == (1 << bits) - 1 else 4 + bytes_of_length + length
