"""The Unix socket of `edge-app status`: a client connects and reads one JSON object.

The socket is in state_dir; only the daemon's user and root can connect. The daemon reads nothing from clients.
Not here: the content of the status (loop.py).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

from edge_app.errors import ConfigError, foreign_text
from edge_app.frame import JsonValue

_LOG = logging.getLogger(__name__)
FILE = "control.sock"
_MODE = 0o600
_TIMEOUT_S = 2.0  # for a client that does not read
_MAX_BYTES = 1 << 20  # of a status
_MAX_TEXT = 1000  # characters, of a text in it
_LONGEST_PATH = 107  # bytes, of sun_path


class StatusSocket:
    """Sends `status()` as JSON to each client, from its own thread. Logs a warning if the socket cannot be created."""

    def __init__(self, state_dir: Path, status: Callable[[], Mapping[str, JsonValue]]) -> None:
        self._status = status
        self._path = state_dir / FILE
        self._listening: socket.socket | None = None
        try:
            self._listening = _listen(self._path)
        except OSError as exc:  # a full or read-only disk must not stop the camera
            _LOG.warning("%s: cannot be created: %s; `edge-app status` will not work", self._path, exc)
            return
        self._inode = self._path.stat().st_ino
        Thread(target=self._serve, args=(self._listening,), name="status-socket", daemon=True).start()

    def close(self) -> None:
        """Safe to call twice."""
        listening, self._listening = self._listening, None
        if listening is None:
            return
        with contextlib.suppress(OSError):
            listening.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
        with contextlib.suppress(OSError):
            if self._path.stat().st_ino == self._inode:  # keep the socket of a later process
                self._path.unlink()
        listening.close()

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.settimeout(_TIMEOUT_S)
                connection.sendall(json.dumps(self._status()).encode() + b"\n")


def request_status(state_dir: Path) -> dict[str, Any]:
    """Get the status of the daemon that runs with this state_dir, as `printable` makes it.

    Raises ConfigError if none answers, or if the answer is not a status: root does not trust the daemon's user.
    """
    path = state_dir / FILE
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT_S * 2)
        try:
            connection.connect(_short(path))
            data = _receive(connection, time.monotonic() + _TIMEOUT_S * 2)
        except PermissionError as exc:
            raise ConfigError(f"{path}: permission denied; expected the daemon's user, or root") from exc
        except OSError as exc:
            raise ConfigError(
                f"{path}: no daemon answers ({exc.strerror or exc}); expected a running edge-app"
            ) from exc
    try:
        answer = printable(json.loads(data))
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not answer:
        raise ConfigError(f"{path}: found an answer that is not a status; expected a running edge-app of this version")
    return answer


def _receive(connection: socket.socket, deadline_s: float) -> bytes:
    """Receive everything until the peer closes. Raises OSError after the deadline, or if it is too much."""
    data = b""
    while received := connection.recv(65536):
        data += received
        if len(data) > _MAX_BYTES or time.monotonic() > deadline_s:
            raise OSError("the answer does not end")
    return data


def printable(value: JsonValue) -> JsonValue:
    """A value whose texts have no control characters and no secrets in URLs, and are of bounded length."""
    if isinstance(value, str):
        return foreign_text(value, _MAX_TEXT)
    if isinstance(value, Mapping):
        return {foreign_text(name): printable(item) for name, item in value.items()}
    return [printable(item) for item in value] if isinstance(value, (list, tuple)) else value


def as_table(status: Mapping[str, Any]) -> str:
    """Format a status as a table, one line per value; names of nested values contain dots."""
    lines = dict(_flat("", status))
    width = max(map(len, lines))
    return "\n".join(f"{name:<{width}}  {text}" for name, text in lines.items())


def _flat(prefix: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        for i, entry in enumerate(value):
            yield from _flat(f"{prefix}.{entry.get('name', i)}", {k: v for k, v in entry.items() if k != "name"})
    elif value is None or isinstance(value, bool):
        yield prefix, {True: "yes", False: "no", None: "-"}[value]
    else:
        yield prefix, f"{value:.3f}" if isinstance(value, float) else str(value) if value or value == 0 else "none"


def _listen(path: Path) -> socket.socket:
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        path.unlink()  # left by a killed process; the outbox's lock prevents two running ones
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        os.fchmod(listening.fileno(), _MODE)  # before bind, so that permissions are never wider
        listening.bind(_short(path))
        path.chmod(_MODE)  # restores the bits that the umask removed
        listening.listen(8)
    except OSError:
        listening.close()
        raise
    return listening


def _short(path: Path) -> str:
    """The path as it fits into a socket address: relative to the working directory if the full path is too long."""
    text = os.path.abspath(path)
    if len(os.fsencode(text)) <= _LONGEST_PATH:
        return text
    relative = os.path.relpath(path)
    if len(os.fsencode(relative)) <= _LONGEST_PATH:
        return relative
    raise OSError(f"the path has more than {_LONGEST_PATH} bytes")
