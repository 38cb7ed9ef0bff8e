"""Frames of the serial sink: COBS-encoded, delimited by zero bytes, protected by a CRC-32.

    0x00  COBS( version type seq_lo seq_hi length_lo length_hi payload… crc32[4, little-endian] )  0x00

COBS: S. Cheshire and M. Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999.
CRC-32 as in zlib and Ethernet, over everything before it. A CRC-16 accepts damaged frames on a noisy line.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

VERSION = 1
_HEADER = struct.Struct("<BBHH")
_CRC = struct.Struct("<I")
OVERHEAD = _HEADER.size + _CRC.size


class Type(IntEnum):
    """HELLO restarts numbering at its seq. ACK and NAK have a seq and no payload."""

    HELLO = 1
    DATA = 2
    ACK = 3
    NAK = 4


@dataclass(frozen=True, slots=True)
class LinkFrame:
    """One frame. seq: 0..65535, of the link; unrelated to the `seq` of messages."""

    type: Type
    seq: int
    payload: bytes = b""


class BrokenFrame(ValueError):
    """The bytes between two zero bytes are not a valid frame."""


def pack(frame: LinkFrame) -> bytes:
    """Encode a frame, with a zero byte before and after it."""
    data = _HEADER.pack(VERSION, frame.type, frame.seq, len(frame.payload)) + frame.payload
    return b"\0" + cobs(data + _CRC.pack(zlib.crc32(data))) + b"\0"


def unpack(stuffed: bytes) -> LinkFrame:
    """Decode the bytes between two zero bytes. Raises BrokenFrame."""
    data = uncobs(stuffed)
    if len(data) < OVERHEAD:
        raise BrokenFrame("too short")
    body, (crc,) = data[: -_CRC.size], _CRC.unpack(data[-_CRC.size :])
    if zlib.crc32(body) != crc:
        raise BrokenFrame("checksum mismatch")
    version, type_, seq, length = _HEADER.unpack_from(body)
    payload = body[_HEADER.size :]
    if version != VERSION or length != len(payload) or type_ not in Type.__members__.values():
        raise BrokenFrame(f"version {version}, type {type_}, length {length}")
    return LinkFrame(Type(type_), seq, payload)


class Splitter:
    """Splits a byte stream at its zero bytes. Buffers at most `max_bytes` of an unfinished piece."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Add received bytes. Yields the pieces that are complete now, without empty ones."""
        *pieces, self._rest = (self._rest + data).split(b"\0")
        self._rest = self._rest[: self._max_bytes]  # a truncated piece fails its checksum
        yield from filter(None, pieces)


def cobs(data: bytes) -> bytes:
    """Encode data without zero bytes. Adds one byte, and one for every 254 bytes."""
    out = bytearray()
    for run in data.split(b"\0"):
        while len(run) >= 254:
            out += b"\xff" + run[:254]
            run = run[254:]  # noqa: PLW2901  consumed from the front
        out.append(len(run) + 1)
        out += run
    return bytes(out)


def uncobs(stuffed: bytes) -> bytes:
    """The inverse of `cobs`. Raises BrokenFrame."""
    out = bytearray()
    at = 0
    while at < len(stuffed):
        code = stuffed[at]
        if code == 0 or at + code > len(stuffed):
            raise BrokenFrame("not COBS")
        out += stuffed[at + 1 : at + code]
        at += code
        if code < 255 and at < len(stuffed):
            out.append(0)
    return bytes(out)
