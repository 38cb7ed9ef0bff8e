"""Find the running daemon of a configuration although the file cannot be read, or names another state_dir by now.

The kernel lists the listening Unix sockets, and the status of a daemon names the configuration that started it. Only
the daemon's user and root can ask it. Not here: the socket itself (status_socket.py).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_app.daemon.status_socket import FILE, request_status
from edge_app.errors import ConfigError

_SOCKETS = Path("/proc/net/unix")
_ACCEPTS = "00010000"  # the flags of a socket that listens
_PATH_FIELD = 7
_MAX_ASKED = 64


def status_of(config: Path) -> dict[str, Any] | None:
    """The status of the daemon that was started with this configuration; None if there is none."""
    wanted = os.path.realpath(config)
    return next((s for s in running() if os.path.realpath(str(s.get("config", ""))) == wanted), None)


def running() -> Iterator[dict[str, Any]]:
    """The status of every running daemon that this user may ask."""
    for state_dir in _state_dirs()[:_MAX_ASKED]:
        try:
            yield request_status(state_dir)
        except ConfigError:  # another user's, or not a daemon of edge-app
            continue


def _state_dirs() -> list[Path]:
    """The folders of listening sockets with the right name and a full path, in the order of their names."""
    try:
        lines = _SOCKETS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    fields = [line.split(maxsplit=_PATH_FIELD) for line in lines]
    paths = {row[_PATH_FIELD] for row in fields if len(row) > _PATH_FIELD and row[3] == _ACCEPTS}
    return [Path(path).parent for path in sorted(paths) if path.startswith("/") and path.endswith(f"/{FILE}")]
