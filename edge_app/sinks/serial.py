"""A serial line: to a microcontroller (mode `frames`, acknowledged), or to a terminal (mode `lines`, JSON lines).

Stop-and-wait: only one frame is in flight, so the microcontroller needs memory for one frame.
"""

from __future__ import annotations

import contextlib
import os
import random
import termios
import time
from collections.abc import Collection, Sequence
from typing import Annotated, Any, Literal

from edge_app.errors import OptionError, SinkError, foreign_text
from edge_app.messages import Message
from edge_app.options import Range
from edge_app.sinks import SinkContext
from edge_app.sinks._frames import BrokenFrame, LinkFrame, Splitter, Type, pack, unpack

_ATTEMPTS = 12  # per frame
_REPLY_BYTES = 64
_WRITE_S = 5.0  # in addition to the transmission time; a peer may stop the line with CTS
_BATCH_S = 10.0  # then the messages delivered so far are acknowledged
_POLL_S = 0.005


class Sink:
    """max_bytes: the largest payload that the peer accepts. ack_timeout_s: added to the transmission time.

    In mode `lines`, a message counts as delivered once it is transmitted.
    """

    batch_limit = 20

    def __init__(
        self,
        context: SinkContext,
        *,
        port: str,
        baud: Annotated[int, Range(50, 20_000_000)] = 115200,
        mode: Literal["frames", "lines"] = "frames",
        rtscts: bool = False,
        max_bytes: Annotated[int, Range(64, 65535)] = 4096,
        ack_timeout_s: Annotated[float, Range(0.01, 60)] = 0.2,
    ) -> None:
        import serial  # here: `edge-app check` works without the library

        if not port.isprintable():
            raise OptionError("port", "found a control character; expected a path such as /dev/ttyS2")
        self._serial: Any = serial
        self._failures = (serial.SerialException, OSError, ValueError, termios.error)  # unplugged, or a wrong setting
        self._device_id = context.device_id
        self._byte_s = 10 / baud
        self._write_s = _WRITE_S + 2 * max_bytes * self._byte_s
        options = {"baudrate": baud, "rtscts": rtscts, "exclusive": True, "write_timeout": self._write_s}
        self._options = {"port": port, **options}
        self._mode = mode
        self._max_bytes = max_bytes
        self._ack_timeout_s = ack_timeout_s
        self._line: Any = None
        self._greeted = False
        self._seq = random.randrange(1 << 16)
        self._splitter = Splitter(_REPLY_BYTES)

    def send(self, batch: Sequence[Message]) -> Collection[str]:
        """Raises SinkError: with retry if the port or an answer is missing, without if a message is too long."""
        ids: list[str] = []
        end = time.monotonic() + _BATCH_S
        try:
            self._open()
            for message in batch:
                if ids and time.monotonic() > end:
                    break
                if len(message.payload) > self._max_bytes:
                    size = f"{len(message.payload)} bytes; expected at most {self._max_bytes}"
                    raise SinkError(f"{message.id}: {size}", retry=False)
                if self._mode == "lines":
                    self._transmit(message.payload + b"\n")
                else:
                    self._deliver(message.payload)
                ids.append(message.id)
        except SinkError:
            if not ids:
                raise
        except self._failures as exc:
            self.close()
            if not ids:
                raise SinkError(self._explain(exc), retry=True) from exc
        return ids

    def idle(self) -> None:
        """Open the port if it is available, before there is a message to send."""
        try:
            self._open()
        except self._failures as exc:
            self.close()
            raise SinkError(self._explain(exc), retry=True) from exc

    def close(self) -> None:
        line, self._line, self._greeted = self._line, None, False
        if line is not None:
            with contextlib.suppress(*self._failures):
                line.reset_output_buffer()  # otherwise closing waits until the peer accepts it
            with contextlib.suppress(*self._failures):
                line.close()

    def _open(self) -> None:
        if self._line is None:
            self._line = self._serial.Serial(timeout=0.02, **self._options)
            self._line.reset_input_buffer()
            self._splitter = Splitter(_REPLY_BYTES)

    def _transmit(self, data: bytes) -> None:
        """Write, and wait until the system has sent everything. Raises SinkError (retry) if the peer stops the line."""
        end = time.monotonic() + self._write_s
        self._line.write(data)
        while self._line.out_waiting:
            if time.monotonic() > end:
                self.close()
                raise SinkError(f"{self._options['port']}: the peer does not accept data", retry=True)
            time.sleep(_POLL_S)

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
        reason = foreign_text(str(exc))
        return reason if str(port) in reason else f"{port}: {reason}"
