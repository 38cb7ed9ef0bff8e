"""A peer that answers every connection with the bytes of the current input; for targets that read from sockets."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

_DRAIN_S = 2.0  # for a client that does not close


class Answering:
    """Accepts one connection at a time, sends `reply` at once, ends its side, and reads until the client closes."""

    def __init__(self, listening: socket.socket) -> None:
        self.reply = b""
        self.listening = listening
        listening.listen(16)
        threading.Thread(target=self._serve, name="answering peer", daemon=True).start()

    @property
    def port(self) -> int:
        return self.listening.getsockname()[1]

    def _serve(self) -> None:
        while True:
            accepted, _ = self.listening.accept()
            with accepted, suppress(OSError):
                accepted.settimeout(_DRAIN_S)
                accepted.sendall(self.reply)
                accepted.shutdown(socket.SHUT_WR)
                while accepted.recv(65536):
                    pass


def on_loopback() -> Answering:
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    return Answering(listening)


def on_path(path: str) -> Answering:
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    return Answering(listening)
