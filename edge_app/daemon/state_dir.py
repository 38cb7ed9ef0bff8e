"""Keep state_dir private, regardless of the umask: folders have mode 0700, files 0600. Not here: what it contains."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_LOG = logging.getLogger(__name__)
_OWN_ENTRIES = {"outbox.lock", "control.sock", "snapshots", "clips", "tune"}  # of earlier runs


@contextmanager
def private_umask() -> Iterator[None]:
    """Create files with mode 0600 and folders with 0700 until the end of the block, in all threads."""
    previous = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(previous)


def make_private(folder: Path) -> None:
    """Create a folder with mode 0700, or take the access to an existing one from other users.

    An existing folder keeps its mode, with a warning, if it may serve other purposes: if it has another owner, the
    sticky bit (as /tmp has), or entries, but none of an earlier run. If it cannot be created, that is logged.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:  # a full or read-only disk must not stop the camera
        _LOG.warning("%s: cannot be created: %s", folder, exc.strerror)
        return
    try:
        status = os.fstat(descriptor)
        if not status.st_mode & 0o077:
            return
        entries = set(os.listdir(descriptor))
        shared = status.st_uid != os.geteuid() or status.st_mode & stat.S_ISVTX
        if shared or (entries and not entries & _OWN_ENTRIES):
            mode = f"{stat.S_IMODE(status.st_mode):04o}"
            _LOG.warning("%s: found mode %s; expected 0700, or a folder of its own for state_dir", folder, mode)
        else:
            os.fchmod(descriptor, 0o700)
            _LOG.info("%s: mode set to 0700", folder)
    except OSError as exc:
        _LOG.warning("%s: mode cannot be set to 0700: %s", folder, exc.strerror)
    finally:
        os.close(descriptor)
