"""A camera over RTSP whose frames carry their number as pixels, so that a test knows when each was captured.

ffmpeg encodes the frames and packs them as RTP; the server sends the packets of each frame when a live encoder would.
"""

from __future__ import annotations

import re
import socket
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

import numpy as np
import numpy.typing as npt

from tests.hostile_peers import RTSP

_BITS = 10
_CELL = 16
_HEIGHT = 48
_RTP_HZ = 90_000
CODECS = {
    "h264": "-c:v libx264 -preset veryfast -tune zerolatency -bf 0",
    "h264-b": "-c:v libx264 -preset veryfast -bf 2 -b_strategy 0 -x264-params rc-lookahead=0:b-pyramid=none",
    "h264-pyramid": "-c:v libx264 -preset veryfast -bf 3 -b_strategy 0 -x264-params rc-lookahead=0:b-pyramid=normal",
    "h265": "-c:v libx265 -preset veryfast -x265-params log-level=none:bframes=0:rc-lookahead=0",
    "h265-b": "-c:v libx265 -preset fast -x265-params bframes=2:b-adapt=0:rc-lookahead=3:b-pyramid=0:log-level=none",
    "mjpeg": "-c:v mjpeg -huffman default -pix_fmt yuvj420p -q:v 3",
}


@dataclass(frozen=True)
class Recording:
    """Encoded frames. sdp: without addresses. units: RTP packets of each frame in decoding order, with its number."""

    sdp: bytes
    units: tuple[tuple[int, tuple[bytes, ...]], ...]
    fps: float

    @property
    def reorder(self) -> int:
        """Frames by which the encoder is late, so that each frame is captured before it is sent."""
        return max(number - index for index, (number, _) in enumerate(self.units))


def picture(number: int) -> npt.NDArray[np.uint8]:
    """A gray picture with the bits of the number as white and black cells."""
    cells = [(number >> bit) & 1 for bit in range(_BITS)]
    return np.repeat(np.array([cells], np.uint8) * 255, _HEIGHT, 0).repeat(_CELL, 1)


def number_of(pixels: npt.NDArray[np.uint8]) -> int:
    """The number that a decoded picture shows. pixels: (height, width, 3)."""
    middle = pixels[_HEIGHT // 2, _CELL // 2 :: _CELL, 1] > 127
    return int((middle << np.arange(_BITS)).sum())


def record(codec: str, fps: float, frames: int, folder: Path) -> Recording:
    """Encode numbered frames. codec: one of CODECS."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(0.3)
        sdp = folder / f"{codec}-{fps}.sdp"
        command = (
            f"ffmpeg -v error -f rawvideo -pix_fmt gray -s {_BITS * _CELL}x{_HEIGHT} -r {fps} -i - {CODECS[codec]}"
            f" -g {max(12, round(fps * 2))} -threads 1 -sdp_file {sdp}"
            f" -f rtp rtp://127.0.0.1:{receiver.getsockname()[1]}?pkt_size=1200"
        )
        packets: list[bytes] = []
        encoder = subprocess.Popen(command.split(), stdin=subprocess.PIPE)
        assert encoder.stdin is not None
        feed = Thread(target=_feed, args=(encoder, frames))
        feed.start()
        while True:
            try:
                packets.append(receiver.recv(65536))
            except TimeoutError:
                if encoder.poll() is not None:
                    break
        feed.join()
        assert encoder.returncode == 0
    units: dict[int, list[bytes]] = {}
    for packet in packets:
        if not 200 <= packet[1] <= 204:  # RTCP
            units.setdefault(struct.unpack(">I", packet[4:8])[0], []).append(packet)
    first = min(units, key=lambda stamp: (stamp - next(iter(units)) + (1 << 31)) % (1 << 32))
    numbered = tuple(
        (round((stamp - first) % (1 << 32) * fps / _RTP_HZ), tuple(group)) for stamp, group in units.items()
    )
    assert sorted(number for number, _ in numbered) == list(range(frames))
    lines = [line for line in sdp.read_bytes().splitlines() if not line.startswith((b"c=", b"o=", b"m=", b"SDP:"))]
    media = re.search(rb"m=video \d+ RTP/AVP (\d+)", sdp.read_bytes())
    assert media
    split = next(i for i, line in enumerate(lines) if line.startswith(b"a=rtpmap") or i == len(lines) - 1)
    body = [b"v=0", b"o=- 0 0 IN IP4 127.0.0.1", b"s=x", b"t=0 0", b"m=video 0 RTP/AVP " + media[1]]
    if media[1] != b"26":
        body += [line for line in lines[split:] if line.startswith(b"a=")]
    return Recording(b"\r\n".join([*body, b"a=control:0", b""]), numbered, fps)


def _feed(encoder: subprocess.Popen[bytes], frames: int) -> None:
    assert encoder.stdin is not None
    for number in range(frames):
        encoder.stdin.write(picture(number).tobytes())
    encoder.stdin.close()
    encoder.wait()


class Camera:
    """Plays a recording over TCP to each client, from its start. step_at: the frame whose stamp, and those after it,
    are moved by step_s seconds.
    """

    def __init__(self, recording: Recording, *, step_at: int = 1 << 30, step_s: float = 0.0) -> None:
        self._recording = recording
        self._step = step_at, round(step_s * _RTP_HZ)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.start_ns = 0  # CLOCK_BOOTTIME of frame 0
        self.connections = 0
        self._stopped = Event()
        self._threads = [Thread(target=self._accept, daemon=True)]

    def __enter__(self) -> Camera:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        for thread in self._threads:
            thread.join()

    def captured_ns(self, number: int) -> int:
        """When the frame with this number was captured."""
        return self.start_ns + round(number * 1e9 / self._recording.fps)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            thread = Thread(target=self._serve, args=(client,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, client: socket.socket) -> None:
        with client:
            try:
                while not self._answer(client).startswith(b"PLAY "):
                    pass
                self.connections += 1
                self._play(client)
            except OSError:
                return

    def _answer(self, client: socket.socket) -> bytes:
        request = b""
        while b"\r\n\r\n" not in request:
            part = client.recv(4096)
            if not part:
                raise ConnectionAbortedError
            request += part
        sequence = re.search(rb"(?im)^cseq: *(\d+)", request)
        headers = b"CSeq: " + (sequence[1] if sequence else b"0") + b"\r\nSession: 1\r\n"
        body = self._recording.sdp if request.startswith(b"DESCRIBE ") else b""
        if body:
            headers += b"Content-Type: application/sdp\r\nContent-Length: %d\r\n" % len(body)
        if request.startswith(b"SETUP "):
            headers += b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
        client.sendall(RTSP.status_line + headers + b"\r\n" + body)
        return request

    def _play(self, client: socket.socket) -> None:
        recording, sequence = self._recording, 0
        self.start_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        start_s = time.monotonic()
        for index, (number, packets) in enumerate(recording.units):
            due_s = start_s + (index + recording.reorder) / recording.fps
            if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                return
            stamp = round(number * _RTP_HZ / recording.fps) + 1_000_000
            stamp += self._step[1] if number >= self._step[0] else 0
            for packet in packets:
                rtp = packet[:2] + struct.pack(">HI", sequence % 65536, stamp % (1 << 32)) + packet[8:]
                client.sendall(b"$\0" + struct.pack(">H", len(rtp)) + rtp)
                sequence += 1
        self._stopped.wait(30.0)
