"""A serial line: to a microcontroller (mode `frames`, acknowledged), or to a terminal (mode `lines`, JSON lines).

Stop-and-wait: only one frame is in flight, so the microcontroller needs memory for one frame.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from edge_app.errors import SinkError
from edge_app.messages import Message
from edge_app.options import Positive, Range
from edge_app.sinks import SinkContext
from edge_app.sinks._frames import BrokenFrame, LinkFrame, Splitter, Type, pack, unpack

_ATTEMPTS = 12  # per frame
_REPLY_BYTES = 64


class Sink:
    """max_bytes: the largest payload that the peer accepts. ack_timeout_s: added to the transmission time.

    In mode `lines`, a message counts as delivered once it is written.
    """

    batch_limit = 20

    def __init__(
        self,
        context: SinkContext,
        *,
        port: str,
        baud: Positive = 115200,
        mode: Literal["frames", "lines"] = "frames",
        rtscts: bool = False,
        max_bytes: Annotated[int, Range(64, 65535)] = 4096,
        ack_timeout_s: Annotated[float, Range(0.01, 60)] = 0.2,
    ) -> None:
        import serial  # here: `edge-app check` works without the library

        self._serial: Any = serial
        self._device_id = context.device_id
        self._options = {"port": port, "baudrate": baud, "rtscts": rtscts, "exclusive": True, "write_timeout": 5.0}
        self._mode = mode
        self._max_bytes = max_bytes
        self._ack_timeout_s = ack_timeout_s
        self._byte_s = 10 / baud
        self._line: Any = None
        self._greeted = False
        self._seq = random.randrange(1 << 16)
        self._splitter = Splitter(_REPLY_BYTES)

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError: with retry if the port or an answer is missing, without if a message is too long."""
        ids: list[str] = []
        try:
            self._open()
            for message in batch:
                if len(message.payload) > self._max_bytes:
                    size = f"{len(message.payload)} bytes; expected at most {self._max_bytes}"
                    raise SinkError(f"{message.id}: {size}", retry=False)
                if self._mode == "lines":
                    self._line.write(message.payload + b"\n")
                    self._line.flush()
                else:
                    self._deliver(message.payload)
                ids.append(message.id)
        except SinkError:
            if not ids:
                raise
        except (self._serial.SerialException, OSError) as exc:  # unplugged
            self.close()
            if not ids:
                raise SinkError(self._explain(exc), retry=True) from exc
        return ids

    def idle(self) -> None:
        """Open the port if it is available, before there is a message to send."""
        try:
            self._open()
        except (self._serial.SerialException, OSError) as exc:
            self.close()
            raise SinkError(self._explain(exc), retry=True) from exc

    def close(self) -> None:
        line, self._line, self._greeted = self._line, None, False
        if line is not None:
            line.close()

    def _open(self) -> None:
        if self._line is None:
            self._line = self._serial.Serial(timeout=0.02, **self._options)
            self._line.reset_input_buffer()
            self._splitter = Splitter(_REPLY_BYTES)

    def _deliver(self, payload: bytes) -> None:
        """Send until the peer acknowledges. Raises SinkError (retry) if it does not."""
        for attempt in range(_ATTEMPTS):
            if not self._greeted:
                self._greeted = self._exchange(Type.HELLO, self._device_id.encode())
            if self._greeted and self._exchange(Type.DATA, payload):
                return
            if attempt % 4 == 3:
                self._greeted = False  # the peer may have restarted
        self.close()
        raise SinkError(f"{self._options['port']}: no acknowledgment", retry=True)

    def _exchange(self, type_: Type, payload: bytes) -> bool:
        """Send one frame once. Returns whether it was acknowledged.

        The number does not change until then, so that the peer recognizes a repeated frame.
        """
        seq = (self._seq + 1) & 0xFFFF
        frame = pack(LinkFrame(type_, seq, payload))
        self._line.write(frame)
        end = time.monotonic() + self._ack_timeout_s + len(frame) * self._byte_s
        while time.monotonic() < end:
            for piece in self._splitter.feed(self._line.read(self._line.in_waiting or 1)):
                try:
                    reply = unpack(piece)
                except BrokenFrame:
                    continue
                if reply.type is Type.ACK and reply.seq == seq:
                    self._seq = seq
                    return True
                if reply.type is Type.NAK:
                    return False
        return False

    def _explain(self, exc: Exception) -> str:
        port = self._options["port"]
        if "exclusively lock" in str(exc):
            return f"{port}: in use by another program"
        if isinstance(exc, OSError) and exc.errno is not None:
            return f"{port}: {os.strerror(exc.errno)}"  # pyserial replaces strerror by a sentence
        reason = str(exc)
        return reason if str(port) in reason else f"{port}: {reason}"
