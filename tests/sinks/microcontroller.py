"""The peer of the serial sink: the microcontroller of edge_app/sinks/README.md, on a pty pair."""

import os
import pty
import random
import select
import threading
import tty

from edge_app.sinks._frames import BrokenFrame, LinkFrame, Splitter, Type, pack, unpack


class Microcontroller:
    """Accepts frames on `path`. corrupt, drop: share of the bytes, in both directions. cable: clear to unplug.

    accepted: payloads, in order, each once. broken: invalid frames.
    """

    def __init__(self, corrupt=0.0, drop=0.0, seed=1):
        self.corrupt, self.drop = corrupt, drop
        self.accepted = []
        self.broken = 0
        self.last = None
        self.cable = threading.Event()
        self.cable.set()
        self._rng = random.Random(seed)
        self._host, self._device = pty.openpty()
        tty.setraw(self._host)
        tty.setraw(self._device)
        self.path = os.ttyname(self._device)
        self._splitter = Splitter(8192)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self):
        self._end.set()
        self._thread.join()
        os.close(self._host)
        os.close(self._device)

    def restart(self):
        self.last = None

    def _run(self):
        while not self._end.is_set():
            if select.select([self._host], [], [], 0.05)[0]:
                data = self._noisy(os.read(self._host, 65536))
                for piece in self._splitter.feed(data):
                    self._handle(piece)

    def _handle(self, piece):
        try:
            frame = unpack(piece)
        except BrokenFrame:
            self.broken += 1
            self._reply(Type.NAK, self.last or 0)
            return
        if frame.type is Type.HELLO:
            self.last = frame.seq
        elif frame.type is Type.DATA and frame.seq != self.last:
            if self.last is None or frame.seq != (self.last + 1) & 0xFFFF:
                self._reply(Type.NAK, self.last or 0)
                return
            self.last = frame.seq
            self.accepted.append(frame.payload)
        self._reply(Type.ACK, frame.seq)

    def _reply(self, type_, seq):
        data = self._noisy(pack(LinkFrame(type_, seq)))
        if data:
            os.write(self._host, data)

    def _noisy(self, data):
        if not self.cable.is_set():
            return b""
        if not self.corrupt and not self.drop:
            return data
        out = bytearray()
        for byte in data:
            chance = self._rng.random()
            if chance < self.drop:
                continue
            out.append(self._rng.randrange(256) if chance < self.drop + self.corrupt else byte)
        return bytes(out)
