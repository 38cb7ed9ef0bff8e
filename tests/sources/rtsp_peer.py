"""An RTSP server in a few lines: plays raw 32x32 video over TCP (RFC 4175), until a test takes over the connection."""

from __future__ import annotations

import re
import struct
import time

from tests.hostile_peers import RTSP, Connection

_SIZE = 32
_SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 raw/90000\r\n"
    f"a=fmtp:96 sampling=YCbCr-4:2:2; width={_SIZE}; height={_SIZE}; depth=8; colorimetry=BT601-5\r\na=control:0\r\n"
).encode()


def play(c: Connection, seconds: float) -> None:
    """Answer the request that the connection has received and all up to PLAY, then send 50 frames a second."""
    while not c.request.startswith(b"PLAY "):
        c.send(_reply(c.request))
        c.receive_request()
    c.send(_reply(c.request))
    for number in range(int(seconds * 50)):
        c.send(frame(number))
        time.sleep(0.02)


def _reply(request: bytes) -> bytes:
    sequence = re.search(rb"(?im)^cseq: *(\d+)", request)
    headers = b"CSeq: " + (sequence[1] if sequence else b"0") + b"\r\nSession: 1\r\n"
    body = b""
    if request.startswith(b"SETUP "):
        headers += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
    if request.startswith(b"DESCRIBE "):
        headers += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(_SDP)
        body = _SDP
    return RTSP.status_line + headers + b"\r\n" + body


def frame(number: int) -> bytes:
    """One picture as one interleaved RTP packet."""
    lines = range(_SIZE)
    more = [0x8000 if line < _SIZE - 1 else 0 for line in lines]
    headers = b"".join(struct.pack(">HHH", _SIZE * 2, line, more[line]) for line in lines)
    pixels = bytes([128, number % 256]) * (_SIZE * _SIZE)
    rtp = struct.pack(">BBHII", 0x80, 0x80 | 96, number % 65536, number * 1800, 1) + b"\0\0" + headers + pixels
    return b"$\0" + struct.pack(">H", len(rtp)) + rtp
