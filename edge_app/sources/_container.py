"""Read the boxes of a video file: whether it is truncated, what it declares, and why it cannot be decoded.

MP4 / MOV (ISO 14496-12), AVI (RIFF) and Matroska / WebM (RFC 8794). The frame counts in headers are less reliable: an
edit list or a longer audio track makes a complete clip look short. Not a source: nothing is decoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

_EBML, _SEGMENT = 0x1A45DFA3, 0x18538067
_MAX_BOXES = 200_000  # a second of fragmented MP4 has two; a damaged file may have one every 8 bytes
_MP4_FIRST = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
_MP4_NAMES = frozenset(
    (*_MP4_FIRST, b"moof", b"mfra", b"sidx", b"ssix", b"styp", b"uuid", b"meta", b"pnot", b"udta", b"prft", b"emsg")
)
_MAX_INDEX = 64 << 20  # bytes of an MP4's index; a day of video has fewer
_RAW_STARTS = (b"\0\0\1", b"\0\0\0\1", b"\xff\xd8\xff")  # NAL units of H.264 and H.265, JPEG
_SYSTEM_STREAM = 0xB9  # MPEG program streams start like NAL units; their IDs are from here on


def missing_bytes(path: Path) -> int:
    """The bytes that the boxes declare beyond the end of the file; 0 if the file is complete or declares no size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        end = max((start + length for _, start, length in _boxes(file, size)), default=0)
    return max(0, end - size)


def is_raw(path: Path) -> bool:
    """Whether this is a stream of H.264, H.265 or JPEG images without a container, which has no timestamps."""
    with path.open("rb") as file:
        head = file.read(5)
    if not head.startswith(_RAW_STARTS):
        return False
    return head[0] == 0xFF or head[head.index(1) + 1] < _SYSTEM_STREAM


def lists_frames(path: Path) -> bool:
    """Whether the container declares how many frames it has: AVI, and MP4 that is not fragmented."""
    size = path.stat().st_size
    with path.open("rb") as file:
        names = {name for name, _, _ in _boxes(file, size)}
    return b"RIFF" in names or (b"moov" in names and b"moof" not in names)


def edited_s(path: Path) -> float | None:
    """The seconds of an MP4's video track that its edit list presents: a trimmed clip has more. None without a list."""
    size = path.stat().st_size
    with path.open("rb") as file:
        index = next(((at, n) for name, at, n in _boxes(file, size) if name == b"moov" and n <= _MAX_INDEX), None)
        if index is None:
            return None
        file.seek(index[0])
        moov = file.read(index[1])
    try:
        return _edited_s(moov)
    except (struct.error, IndexError, ZeroDivisionError):
        return None


def _edited_s(moov: bytes) -> float | None:
    movie = _inner(moov, b"mvhd")[0]
    units_per_s = struct.unpack_from(">I", movie, 28 if movie[8] else 20)[0]
    for track in _inner(moov, b"trak"):
        handler = [h for media in _inner(track, b"mdia") for h in _inner(media, b"hdlr")]
        if not handler or handler[0][16:20] != b"vide":
            continue
        for edits in (e for edit in _inner(track, b"edts") for e in _inner(edit, b"elst")):
            layout = struct.Struct(">QqI" if edits[8] else ">IiI")
            entries = layout.iter_unpack(edits[16 : 16 + (len(edits) - 16) // layout.size * layout.size])
            return float(sum(length for length, start, _ in entries if start >= 0) / units_per_s)
    return None


def _inner(box: bytes, wanted: bytes) -> list[bytes]:
    """The boxes of this name directly inside an MP4 box, each with its header."""
    found, at = [], 8
    while at + 8 <= len(box):
        length = int.from_bytes(box[at : at + 4], "big")
        if length < 8:
            break
        if box[at + 4 : at + 8] == wanted:
            found.append(box[at : at + length])
        at += length
    return found


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
        if reader is _mp4_box and name not in _MP4_NAMES and start + length > size:
            return  # data that a dashcam has written after the end, which are no box
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
